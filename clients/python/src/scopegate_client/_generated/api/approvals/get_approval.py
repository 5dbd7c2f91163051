"""GET /api/v1/approvals/{approval_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.approval import Approval


def call(
    approval_id: str,
) -> Call[Approval]:
    """The request."""
    return Call(
        operation="get_approval",
        method="GET",
        path=path_of(
            "/api/v1/approvals/{approval_id}",
            approval_id=approval_id,
        ),
        read=Approval.from_dict,
    )
