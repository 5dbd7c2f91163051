"""PATCH /api/v1/webhooks/{webhook_id}"""

from __future__ import annotations

from collections.abc import Sequence

from ...._call import (
    Call,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.webhook import Webhook
from ...models.webhook_event import WebhookEvent
from ...models.webhook_status import WebhookStatus
from ...types import UNSET, Unset


def call(
    webhook_id: str,
    *,
    name: str | Unset = UNSET,
    description: str | None | Unset = UNSET,
    url: str | Unset = UNSET,
    events: Sequence[WebhookEvent] | Unset = UNSET,
    status: WebhookStatus | Unset = UNSET,
    if_match: int | str | None = None,
) -> Call[Webhook]:
    """The request."""
    return Call(
        operation="update_webhook",
        method="PATCH",
        path=path_of(
            "/api/v1/webhooks/{webhook_id}",
            webhook_id=webhook_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(
            {
                "name": name,
                "description": description,
                "url": url,
                "events": events,
                "status": status,
            }
        ),
        read=Webhook.from_dict,
    )
