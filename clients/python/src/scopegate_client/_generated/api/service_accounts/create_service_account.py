"""POST /api/v1/service-accounts"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.service_account import ServiceAccount


def call(
    fields: JsonObject,
    *,
    idempotency_key: str | None = None,
) -> Call[ServiceAccount]:
    """The request."""
    return Call(
        operation="create_service_account",
        method="POST",
        path="/api/v1/service-accounts",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(fields),
        read=ServiceAccount.from_dict,
    )
