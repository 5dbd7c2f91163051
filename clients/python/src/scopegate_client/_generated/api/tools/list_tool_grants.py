"""GET /api/v1/tools/{tool_id}/grants"""

from __future__ import annotations

import datetime

from ...._call import (
    Call,
    path_of,
)
from ...models.tool_grants import ToolGrants


def call(
    tool_id: str,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    unused_for_days: int | None = None,
) -> Call[ToolGrants]:
    """The request."""
    return Call(
        operation="list_tool_grants",
        method="GET",
        path=path_of(
            "/api/v1/tools/{tool_id}/grants",
            tool_id=tool_id,
        ),
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "unused_for_days": unused_for_days,
        },
        read=ToolGrants.from_dict,
    )
