"""GET /api/v1/servers/{server_id}"""

from __future__ import annotations

from typing import Literal

from ...._call import (
    Call,
    path_of,
)
from ...models.server import Server


def call(
    server_id: str,
    *,
    include: Literal["ended"] | None = None,
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
