"""GET /api/v1/groups/{group_id}/members"""

from __future__ import annotations

import datetime

from ...._call import (
    Call,
    path_of,
)
from ...models.group_member_page import GroupMemberPage


def call(
    group_id: str,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
) -> Call[GroupMemberPage]:
    """The request."""
    return Call(
        operation="list_group_members",
        method="GET",
        path=path_of(
            "/api/v1/groups/{group_id}/members",
            group_id=group_id,
        ),
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
        },
        read=GroupMemberPage.from_dict,
    )
