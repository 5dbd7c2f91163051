"""POST /api/v1/me/pickups/{pickup_id}/take"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
)
from ...models.issued_token import IssuedToken


def call(
    pickup_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[IssuedToken]:
    """The request."""
    return Call(
        operation="take_own_pickup",
        method="POST",
        path=path_of(
            "/api/v1/me/pickups/{pickup_id}/take",
            pickup_id=pickup_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=IssuedToken.from_dict,
    )
