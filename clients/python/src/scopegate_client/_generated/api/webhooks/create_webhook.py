"""POST /api/v1/webhooks"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.issued_webhook_secret import IssuedWebhookSecret


def call(
    fields: JsonObject,
    *,
    idempotency_key: str | None = None,
) -> Call[IssuedWebhookSecret]:
    """The request."""
    return Call(
        operation="create_webhook",
        method="POST",
        path="/api/v1/webhooks",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(fields),
        read=IssuedWebhookSecret.from_dict,
    )
