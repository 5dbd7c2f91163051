"""GET /api/v1/tools/{tool_id}"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from typing import cast
from ...types import UNSET, Unset
from typing import Literal, cast
from typing import cast
from ...models.tool import Tool



def call(
    tool_id: str,
    *,
    include: Literal['ended'] | None = None,

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
