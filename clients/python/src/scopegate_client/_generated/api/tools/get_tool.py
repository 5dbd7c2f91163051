"""GET /api/v1/tools/{tool_id}"""

from __future__ import annotations

from typing import Literal

from ...._call import (
    Call,
    path_of,
)
from ...models.tool import Tool


def call(
    tool_id: str,
    *,
    include: Literal["ended"] | None = None,
) -> Call[Tool]:
    """The request."""
    return Call(
        operation="get_tool",
        method="GET",
        path=path_of(
            "/api/v1/tools/{tool_id}",
            tool_id=tool_id,
        ),
        query={
            "include": include,
        },
        read=Tool.from_dict,
    )
