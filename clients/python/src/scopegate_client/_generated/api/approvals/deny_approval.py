"""POST /api/v1/approvals/{approval_id}/deny"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.approval import Approval


def call(
    approval_id: str,
    fields: JsonObject,
    *,
    if_match: int | str | None = None,
) -> Call[Approval]:
    """The request."""
    return Call(
        operation="deny_approval",
        method="POST",
        path=path_of(
            "/api/v1/approvals/{approval_id}/deny",
            approval_id=approval_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=Approval.from_dict,
    )
