"""DELETE /api/v1/identities/{identity_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
)
from ...models.offboard_receipt import OffboardReceipt


def call(
    identity_id: str,
    *,
    reason: str | None = None,
    dry_run: bool = False,
    if_match: int | str | None = None,
) -> Call[OffboardReceipt]:
    """The request."""
    return Call(
        operation="delete_identity",
        method="DELETE",
        path=path_of(
            "/api/v1/identities/{identity_id}",
            identity_id=identity_id,
        ),
        query={
            "reason": reason,
            "dry_run": dry_run,
        },
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=OffboardReceipt.from_dict,
    )
