"""GET /api/v1/webhooks/{webhook_id}/deliveries"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
    path_of,
)
from ...models.webhook_delivery_page import WebhookDeliveryPage
from ...models.webhook_delivery_state import WebhookDeliveryState


def call(
    webhook_id: str,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    state: WebhookDeliveryState | Sequence[WebhookDeliveryState] | None = None,
    type: str | Sequence[str] | None = None,
) -> Call[WebhookDeliveryPage]:
    """The request."""
    return Call(
        operation="list_webhook_deliveries",
        method="GET",
        path=path_of(
            "/api/v1/webhooks/{webhook_id}/deliveries",
            webhook_id=webhook_id,
        ),
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "state": state,
            "type": type,
        },
        read=WebhookDeliveryPage.from_dict,
    )
