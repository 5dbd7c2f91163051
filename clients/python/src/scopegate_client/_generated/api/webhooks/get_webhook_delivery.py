"""GET /api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.webhook_delivery import WebhookDelivery


def call(
    webhook_id: str,
    delivery_id: str,
) -> Call[WebhookDelivery]:
    """The request."""
    return Call(
        operation="get_webhook_delivery",
        method="GET",
        path=path_of(
            "/api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}",
            webhook_id=webhook_id,
            delivery_id=delivery_id,
        ),
        read=WebhookDelivery.from_dict,
    )
