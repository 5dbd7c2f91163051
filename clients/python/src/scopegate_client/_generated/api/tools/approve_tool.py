"""POST /api/v1/tools/{tool_id}/approve"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.tool import Tool


def call(
    tool_id: str,
    *,
    definition_digest: str,
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
        json=sent_body(
            {
                "definition_digest": definition_digest,
            }
        ),
        read=Tool.from_dict,
    )
