"""POST /api/v1/tools/{tool_id}/approve"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.tool import Tool


def call(
    tool_id: str,
    fields: JsonObject,
    *,
    if_match: int | str | None = None,
) -> Call[Tool]:
    """The request."""
    return Call(
        operation="approve_tool",
        method="POST",
        path=path_of(
            "/api/v1/tools/{tool_id}/approve",
            tool_id=tool_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=Tool.from_dict,
    )
