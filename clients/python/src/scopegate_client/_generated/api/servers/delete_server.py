"""DELETE /api/v1/servers/{server_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    nothing,
    path_of,
)


def call(
    server_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[None]:
    """The request."""
    return Call(
        operation="delete_server",
        method="DELETE",
        path=path_of(
            "/api/v1/servers/{server_id}",
            server_id=server_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=nothing,
    )
