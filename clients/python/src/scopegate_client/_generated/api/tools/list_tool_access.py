"""GET /api/v1/tools/{tool_id}/access"""

from __future__ import annotations

import datetime

from ...._call import (
    Call,
    path_of,
)
from ...models.tool_access import ToolAccess


def call(
    tool_id: str,
    *,
    at: datetime.datetime | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[ToolAccess]:
    """The request."""
    return Call(
        operation="list_tool_access",
        method="GET",
        path=path_of(
            "/api/v1/tools/{tool_id}/access",
            tool_id=tool_id,
        ),
        query={
            "at": at,
            "limit": limit,
            "cursor": cursor,
        },
        read=ToolAccess.from_dict,
    )
