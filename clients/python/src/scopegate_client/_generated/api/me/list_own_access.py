"""GET /api/v1/me/access"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
)
from ...models.identity_access import IdentityAccess


def call(
    *,
    at: datetime.datetime | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    server_id: str | Sequence[str] | None = None,
) -> Call[IdentityAccess]:
    """The request."""
    return Call(
        operation="list_own_access",
        method="GET",
        path="/api/v1/me/access",
        query={
            "at": at,
            "limit": limit,
            "cursor": cursor,
            "server_id": server_id,
        },
        read=IdentityAccess.from_dict,
    )
