"""GET /api/v1/tokens/{token_id}/pickups/{pickup_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.token_pickup import TokenPickup


def call(
    token_id: str,
    pickup_id: str,
) -> Call[TokenPickup]:
    """The request."""
    return Call(
        operation="get_token_pickup",
        method="GET",
        path=path_of(
            "/api/v1/tokens/{token_id}/pickups/{pickup_id}",
            token_id=token_id,
            pickup_id=pickup_id,
        ),
        read=TokenPickup.from_dict,
    )
