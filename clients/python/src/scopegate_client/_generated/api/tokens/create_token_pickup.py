"""POST /api/v1/tokens/{token_id}/pickups"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
    sent_body,
)
from ...models.token_pickup import TokenPickup
from ...types import UNSET, Unset


def call(
    token_id: str,
    *,
    overlap_s: int | Unset = UNSET,
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
        json=sent_body(
            {
                "overlap_s": overlap_s,
            }
        ),
        read=TokenPickup.from_dict,
    )
