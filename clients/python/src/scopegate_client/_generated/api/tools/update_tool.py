"""PATCH /api/v1/tools/{tool_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.risk import Risk
from ...models.settable_tool_state import SettableToolState
from ...models.tool import Tool
from ...types import UNSET, Unset


def call(
    tool_id: str,
    *,
    risk: Risk | None | Unset = UNSET,
    state: SettableToolState | Unset = UNSET,
    if_match: int | str | None = None,
) -> Call[Tool]:
    """The request."""
    return Call(
        operation="update_tool",
        method="PATCH",
        path=path_of(
            "/api/v1/tools/{tool_id}",
            tool_id=tool_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(
            {
                "risk": risk,
                "state": state,
            }
        ),
        read=Tool.from_dict,
    )
