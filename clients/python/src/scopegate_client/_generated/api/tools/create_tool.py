"""POST /api/v1/tools"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.tool import Tool


def call(
    fields: JsonObject,
    *,
    idempotency_key: str | None = None,
) -> Call[Tool]:
    """The request."""
    return Call(
        operation="create_tool",
        method="POST",
        path="/api/v1/tools",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(fields),
        read=Tool.from_dict,
    )
