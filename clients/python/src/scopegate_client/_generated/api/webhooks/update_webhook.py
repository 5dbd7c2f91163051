"""PATCH /api/v1/webhooks/{webhook_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.webhook import Webhook


def call(
    webhook_id: str,
    fields: JsonObject,
    *,
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
        json=sent_body(fields),
        read=Webhook.from_dict,
    )
