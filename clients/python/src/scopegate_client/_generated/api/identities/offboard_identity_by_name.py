"""POST /api/v1/identities/offboard"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    sent_body,
)
from ...models.offboard_receipt import OffboardReceipt


def call(
    fields: JsonObject,
    *,
    external_id: str | None = None,
    user_name: str | None = None,
    dry_run: bool = False,
    if_match: int | str | None = None,
) -> Call[OffboardReceipt]:
    """The request."""
    return Call(
        operation="offboard_identity_by_name",
        method="POST",
        path="/api/v1/identities/offboard",
        query={
            "external_id": external_id,
            "user_name": user_name,
            "dry_run": dry_run,
        },
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=OffboardReceipt.from_dict,
    )
