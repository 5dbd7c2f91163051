"""PATCH /api/v1/tools/{tool_id}"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from ...models.risk import Risk
from ...types import UNSET, Unset
from typing import cast
from ...models.settable_tool_state import SettableToolState

from typing import cast
from ...models.tool import Tool



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
