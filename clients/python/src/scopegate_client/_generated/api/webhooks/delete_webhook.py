"""DELETE /api/v1/webhooks/{webhook_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    nothing,
    path_of,
)


def call(
    webhook_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[None]:
    """The request."""
    return Call(
        operation="delete_webhook",
        method="DELETE",
        path=path_of(
            "/api/v1/webhooks/{webhook_id}",
            webhook_id=webhook_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=nothing,
    )
