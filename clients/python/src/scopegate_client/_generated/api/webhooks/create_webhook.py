"""POST /api/v1/webhooks"""

from __future__ import annotations

from collections.abc import Sequence

from ...._call import (
    Call,
    sent_body,
)
from ...models.issued_webhook_secret import IssuedWebhookSecret
from ...models.webhook_event import WebhookEvent
from ...types import UNSET, Unset


def call(
    *,
    name: str,
    url: str,
    events: Sequence[WebhookEvent],
    description: str | None | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[IssuedWebhookSecret]:
    """The request."""
    return Call(
        operation="create_webhook",
        method="POST",
        path="/api/v1/webhooks",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(
            {
                "name": name,
                "url": url,
                "events": events,
                "description": description,
            }
        ),
        read=IssuedWebhookSecret.from_dict,
    )
