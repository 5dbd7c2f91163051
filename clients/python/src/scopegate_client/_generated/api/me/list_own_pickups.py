"""GET /api/v1/me/pickups"""

from __future__ import annotations

import datetime

from ...._call import (
    Call,
)
from ...models.token_pickup_page import TokenPickupPage


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
) -> Call[TokenPickupPage]:
    """The request."""
    return Call(
        operation="list_own_pickups",
        method="GET",
        path="/api/v1/me/pickups",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
        },
        read=TokenPickupPage.from_dict,
    )
