"""PATCH /api/v1/servers/{server_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.server import Server


def call(
    server_id: str,
    fields: JsonObject,
    *,
    if_match: int | str | None = None,
) -> Call[Server]:
    """The request."""
    return Call(
        operation="update_server",
        method="PATCH",
        path=path_of(
            "/api/v1/servers/{server_id}",
            server_id=server_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=Server.from_dict,
    )
