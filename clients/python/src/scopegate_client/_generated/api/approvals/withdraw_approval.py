"""POST /api/v1/approvals/{approval_id}/withdraw"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
)
from ...models.approval import Approval


def call(
    approval_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[Approval]:
    """The request."""
    return Call(
        operation="withdraw_approval",
        method="POST",
        path=path_of(
            "/api/v1/approvals/{approval_id}/withdraw",
            approval_id=approval_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=Approval.from_dict,
    )
