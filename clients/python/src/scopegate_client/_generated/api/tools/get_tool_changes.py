"""GET /api/v1/tools/{tool_id}/changes"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.tool_changes import ToolChanges


def call(
    tool_id: str,
) -> Call[ToolChanges]:
    """The request."""
    return Call(
        operation="get_tool_changes",
        method="GET",
        path=path_of(
            "/api/v1/tools/{tool_id}/changes",
            tool_id=tool_id,
        ),
        read=ToolChanges.from_dict,
    )
