"""GET /api/v1/approvals/{approval_id}/arguments"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.approval_arguments import ApprovalArguments


def call(
    approval_id: str,
) -> Call[ApprovalArguments]:
    """The request."""
    return Call(
        operation="get_approval_arguments",
        method="GET",
        path=path_of(
            "/api/v1/approvals/{approval_id}/arguments",
            approval_id=approval_id,
        ),
        read=ApprovalArguments.from_dict,
    )
