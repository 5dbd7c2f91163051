"""POST /api/v1/tokens"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.issued_token import IssuedToken


def call(
    fields: JsonObject,
    *,
    idempotency_key: str | None = None,
) -> Call[IssuedToken]:
    """The request."""
    return Call(
        operation="create_token",
        method="POST",
        path="/api/v1/tokens",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(fields),
        read=IssuedToken.from_dict,
    )
