"""POST /api/v1/identity-providers"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.identity_provider import IdentityProvider


def call(
    fields: JsonObject,
    *,
    idempotency_key: str | None = None,
) -> Call[IdentityProvider]:
    """The request."""
    return Call(
        operation="create_identity_provider",
        method="POST",
        path="/api/v1/identity-providers",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(fields),
        read=IdentityProvider.from_dict,
    )
