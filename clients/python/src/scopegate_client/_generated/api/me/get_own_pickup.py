"""GET /api/v1/me/pickups/{pickup_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.own_token_pickup import OwnTokenPickup


def call(
    pickup_id: str,
) -> Call[OwnTokenPickup]:
    """The request."""
    return Call(
        operation="get_own_pickup",
        method="GET",
        path=path_of(
            "/api/v1/me/pickups/{pickup_id}",
            pickup_id=pickup_id,
        ),
        read=OwnTokenPickup.from_dict,
    )
