"""DELETE /api/v1/tokens/{token_id}/pickups/{pickup_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
)
from ...models.token_pickup import TokenPickup


def call(
    token_id: str,
    pickup_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[TokenPickup]:
    """The request."""
    return Call(
        operation="cancel_token_pickup",
        method="DELETE",
        path=path_of(
            "/api/v1/tokens/{token_id}/pickups/{pickup_id}",
            token_id=token_id,
            pickup_id=pickup_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=TokenPickup.from_dict,
    )
