"""GET /api/v1/identities/{identity_id}/access"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
    path_of,
)
from ...models.identity_access import IdentityAccess


def call(
    identity_id: str,
    *,
    at: datetime.datetime | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    server_id: str | Sequence[str] | None = None,
) -> Call[IdentityAccess]:
    """The request."""
    return Call(
        operation="list_identity_access",
        method="GET",
        path=path_of(
            "/api/v1/identities/{identity_id}/access",
            identity_id=identity_id,
        ),
        query={
            "at": at,
            "limit": limit,
            "cursor": cursor,
            "server_id": server_id,
        },
        read=IdentityAccess.from_dict,
    )
