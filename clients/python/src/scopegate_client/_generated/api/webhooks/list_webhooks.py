"""GET /api/v1/webhooks"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Literal

from ...._call import (
    Call,
)
from ...models.webhook_event import WebhookEvent
from ...models.webhook_order import WebhookOrder
from ...models.webhook_page import WebhookPage
from ...models.webhook_status import WebhookStatus


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    status: WebhookStatus | Sequence[WebhookStatus] | None = None,
    event: WebhookEvent | Sequence[WebhookEvent] | None = None,
    failing: bool = False,
    q: str | None = None,
    include: Literal["ended"] | None = None,
    sort: WebhookOrder | None = None,
) -> Call[WebhookPage]:
    """The request."""
    return Call(
        operation="list_webhooks",
        method="GET",
        path="/api/v1/webhooks",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "status": status,
            "event": event,
            "failing": failing,
            "q": q,
            "include": include,
            "sort": sort,
        },
        read=WebhookPage.from_dict,
    )
