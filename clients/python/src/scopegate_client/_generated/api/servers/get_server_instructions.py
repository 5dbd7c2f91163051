"""GET /api/v1/servers/{server_id}/instructions"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.server_instructions import ServerInstructions


def call(
    server_id: str,
) -> Call[ServerInstructions]:
    """The request."""
    return Call(
        operation="get_server_instructions",
        method="GET",
        path=path_of(
            "/api/v1/servers/{server_id}/instructions",
            server_id=server_id,
        ),
        read=ServerInstructions.from_dict,
    )
