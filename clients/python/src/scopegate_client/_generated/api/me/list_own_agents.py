"""GET /api/v1/me/agents"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
)
from ...models.identity_page import IdentityPage
from ...models.identity_status import IdentityStatus


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    status: IdentityStatus | Sequence[IdentityStatus] | None = None,
    q: str | None = None,
) -> Call[IdentityPage]:
    """The request."""
    return Call(
        operation="list_own_agents",
        method="GET",
        path="/api/v1/me/agents",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "status": status,
            "q": q,
        },
        read=IdentityPage.from_dict,
    )
