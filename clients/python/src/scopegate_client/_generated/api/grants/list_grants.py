"""GET /api/v1/grants"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Literal

from ...._call import (
    Call,
)
from ...models.grant_order import GrantOrder
from ...models.grant_page import GrantPage
from ...models.grant_status import GrantStatus


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    identity_id: str | Sequence[str] | None = None,
    group_id: str | Sequence[str] | None = None,
    server_id: str | Sequence[str] | None = None,
    status: GrantStatus | Sequence[GrantStatus] | None = None,
    expires_after: datetime.datetime | None = None,
    expires_before: datetime.datetime | None = None,
    q: str | None = None,
    include: Literal["ended"] | None = None,
    sort: GrantOrder | None = None,
) -> Call[GrantPage]:
    """The request."""
    return Call(
        operation="list_grants",
        method="GET",
        path="/api/v1/grants",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "identity_id": identity_id,
            "group_id": group_id,
            "server_id": server_id,
            "status": status,
            "expires_after": expires_after,
            "expires_before": expires_before,
            "q": q,
            "include": include,
            "sort": sort,
        },
        read=GrantPage.from_dict,
    )
