"""GET /api/v1/tools/{tool_id}/access"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from ...types import UNSET, Unset
from typing import cast
import datetime
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from typing import cast
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
