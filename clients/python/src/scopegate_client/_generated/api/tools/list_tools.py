"""GET /api/v1/tools"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Literal

from ...._call import (
    Call,
)
from ...models.risk import Risk
from ...models.tool_order import ToolOrder
from ...models.tool_page import ToolPage
from ...models.tool_state import ToolState


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    server_id: str | Sequence[str] | None = None,
    name: str | Sequence[str] | None = None,
    risk: Risk | Sequence[Risk] | None = None,
    state: ToolState | Sequence[ToolState] | None = None,
    q: str | None = None,
    include: Literal["ended"] | None = None,
    sort: ToolOrder | None = None,
) -> Call[ToolPage]:
    """The request."""
    return Call(
        operation="list_tools",
        method="GET",
        path="/api/v1/tools",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "server_id": server_id,
            "name": name,
            "risk": risk,
            "state": state,
            "q": q,
            "include": include,
            "sort": sort,
        },
        read=ToolPage.from_dict,
    )
