"""POST /api/v1/servers/{server_id}/instructions/approve"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.server_instructions import ServerInstructions


def call(
    server_id: str,
    fields: JsonObject,
    *,
    if_match: int | str | None = None,
) -> Call[ServerInstructions]:
    """The request."""
    return Call(
        operation="approve_server_instructions",
        method="POST",
        path=path_of(
            "/api/v1/servers/{server_id}/instructions/approve",
            server_id=server_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=ServerInstructions.from_dict,
    )
