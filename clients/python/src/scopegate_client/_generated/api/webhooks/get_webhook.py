"""GET /api/v1/webhooks/{webhook_id}"""

from __future__ import annotations

from typing import Literal

from ...._call import (
    Call,
    path_of,
)
from ...models.webhook import Webhook


def call(
    webhook_id: str,
    *,
    include: Literal["ended"] | None = None,
) -> Call[Webhook]:
    """The request."""
    return Call(
        operation="get_webhook",
        method="GET",
        path=path_of(
            "/api/v1/webhooks/{webhook_id}",
            webhook_id=webhook_id,
        ),
        query={
            "include": include,
        },
        read=Webhook.from_dict,
    )
