"""POST /api/v1/tokens/{token_id}/pickups"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    path_of,
    sent_body,
)
from ...models.token_pickup import TokenPickup


def call(
    token_id: str,
    fields: JsonObject,
    *,
    idempotency_key: str | None = None,
) -> Call[TokenPickup]:
    """The request."""
    return Call(
        operation="create_token_pickup",
        method="POST",
        path=path_of(
            "/api/v1/tokens/{token_id}/pickups",
            token_id=token_id,
        ),
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(fields),
        read=TokenPickup.from_dict,
    )
