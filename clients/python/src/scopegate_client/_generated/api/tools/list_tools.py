"""GET /api/v1/tools"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
import datetime
from ...types import UNSET, Unset
from typing import cast
import datetime
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...models.risk import Risk
from ...models.tool_state import ToolState
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from typing import cast
from ...types import UNSET, Unset
from typing import Literal, cast
from ...models.tool_order import ToolOrder
from ...types import UNSET, Unset
from typing import cast
from typing import cast
from ...models.tool_page import ToolPage



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
    include: Literal['ended'] | None = None,
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
