"""POST /api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/retry"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
)
from ...models.webhook_delivery import WebhookDelivery


def call(
    webhook_id: str,
    delivery_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[WebhookDelivery]:
    """The request."""
    return Call(
        operation="retry_webhook_delivery",
        method="POST",
        path=path_of(
            "/api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/retry",
            webhook_id=webhook_id,
            delivery_id=delivery_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=WebhookDelivery.from_dict,
    )
