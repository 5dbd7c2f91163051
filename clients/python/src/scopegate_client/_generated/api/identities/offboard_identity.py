"""POST /api/v1/identities/{identity_id}/offboard"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.offboard_receipt import OffboardReceipt


def call(
    identity_id: str,
    fields: JsonObject,
    *,
    dry_run: bool = False,
    if_match: int | str | None = None,
) -> Call[OffboardReceipt]:
    """The request."""
    return Call(
        operation="offboard_identity",
        method="POST",
        path=path_of(
            "/api/v1/identities/{identity_id}/offboard",
            identity_id=identity_id,
        ),
        query={
            "dry_run": dry_run,
        },
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=OffboardReceipt.from_dict,
    )
