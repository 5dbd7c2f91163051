"""POST /api/v1/servers/{server_id}/sync"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
)
from ...models.server import Server


def call(
    server_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[Server]:
    """The request."""
    return Call(
        operation="sync_server",
        method="POST",
        path=path_of(
            "/api/v1/servers/{server_id}/sync",
            server_id=server_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=Server.from_dict,
    )
