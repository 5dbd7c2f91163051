"""GET /api/v1/servers/{server_id}"""

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
from ...models.server import Server



def call(
    server_id: str,
    *,
    include: Literal['ended'] | None = None,

) -> Call[Server]:
    """The request."""
    return Call(
        operation="get_server",
        method="GET",
        path=path_of(
            "/api/v1/servers/{server_id}",
            server_id=server_id,
        ),
        query={
            "include": include,
        },
        read=Server.from_dict,
    )
