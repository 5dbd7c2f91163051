"""POST /api/v1/servers"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.server import Server


def call(
    fields: JsonObject,
    *,
    idempotency_key: str | None = None,
) -> Call[Server]:
    """The request."""
    return Call(
        operation="create_server",
        method="POST",
        path="/api/v1/servers",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(fields),
        read=Server.from_dict,
    )
