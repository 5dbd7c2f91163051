"""POST /api/v1/webhooks/{webhook_id}/rotate"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.issued_webhook_secret import IssuedWebhookSecret


def call(
    webhook_id: str,
    fields: JsonObject,
    *,
    if_match: int | str | None = None,
) -> Call[IssuedWebhookSecret]:
    """The request."""
    return Call(
        operation="rotate_webhook",
        method="POST",
        path=path_of(
            "/api/v1/webhooks/{webhook_id}/rotate",
            webhook_id=webhook_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=IssuedWebhookSecret.from_dict,
    )
