"""POST /api/v1/webhooks/{webhook_id}/rotate"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.issued_webhook_secret import IssuedWebhookSecret
from ...types import UNSET, Unset


def call(
    webhook_id: str,
    *,
    overlap_s: int | Unset = UNSET,
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
        json=sent_body(
            {
                "overlap_s": overlap_s,
            }
        ),
        read=IssuedWebhookSecret.from_dict,
    )
