"""POST /api/v1/identities"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.identity import Identity


def call(
    fields: JsonObject,
    *,
    idempotency_key: str | None = None,
) -> Call[Identity]:
    """The request."""
    return Call(
        operation="create_identity",
        method="POST",
        path="/api/v1/identities",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(fields),
        read=Identity.from_dict,
    )
