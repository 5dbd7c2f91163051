"""GET /api/v1/approvals"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
)
from ...models.approval_kind import ApprovalKind
from ...models.approval_page import ApprovalPage
from ...models.approval_status import ApprovalStatus


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    state: ApprovalStatus | Sequence[ApprovalStatus] | None = None,
    kind: ApprovalKind | Sequence[ApprovalKind] | None = None,
    identity_id: str | Sequence[str] | None = None,
    token_id: str | Sequence[str] | None = None,
    server_id: str | Sequence[str] | None = None,
    tool: str | Sequence[str] | None = None,
    approver_group: str | Sequence[str] | None = None,
) -> Call[ApprovalPage]:
    """The request."""
    return Call(
        operation="list_approvals",
        method="GET",
        path="/api/v1/approvals",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "state": state,
            "kind": kind,
            "identity_id": identity_id,
            "token_id": token_id,
            "server_id": server_id,
            "tool": tool,
            "approver_group": approver_group,
        },
        read=ApprovalPage.from_dict,
    )
