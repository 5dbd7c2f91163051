"""POST /api/v1/webhooks/{webhook_id}/test"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.webhook_delivery import WebhookDelivery


def call(
    webhook_id: str,
    *,
    idempotency_key: str | None = None,
) -> Call[WebhookDelivery]:
    """The request."""
    return Call(
        operation="create_webhook_test",
        method="POST",
        path=path_of(
            "/api/v1/webhooks/{webhook_id}/test",
            webhook_id=webhook_id,
        ),
        takes_key=True,
        idempotency_key=idempotency_key,
        read=WebhookDelivery.from_dict,
    )
