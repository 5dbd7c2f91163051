"""POST /api/v1/grants"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.grant import Grant


def call(
    fields: JsonObject,
    *,
    idempotency_key: str | None = None,
) -> Call[Grant]:
    """The request."""
    return Call(
        operation="create_grant",
        method="POST",
        path="/api/v1/grants",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(fields),
        read=Grant.from_dict,
    )
