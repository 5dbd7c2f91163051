"""GET /api/v1/tokens/{token_id}/pickups"""

from __future__ import annotations

import datetime

from ...._call import (
    Call,
    path_of,
)
from ...models.token_pickup_page import TokenPickupPage


def call(
    token_id: str,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
) -> Call[TokenPickupPage]:
    """The request."""
    return Call(
        operation="list_token_pickups",
        method="GET",
        path=path_of(
            "/api/v1/tokens/{token_id}/pickups",
            token_id=token_id,
        ),
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
        },
        read=TokenPickupPage.from_dict,
    )
