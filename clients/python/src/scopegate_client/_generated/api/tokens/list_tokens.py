"""GET /api/v1/tokens"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
)
from ...models.token_order import TokenOrder
from ...models.token_page import TokenPage
from ...models.token_status import TokenStatus


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    identity_id: str | Sequence[str] | None = None,
    parent_id: str | Sequence[str] | None = None,
    server_id: str | None = None,
    status: TokenStatus | Sequence[TokenStatus] | None = None,
    expires_after: datetime.datetime | None = None,
    expires_before: datetime.datetime | None = None,
    q: str | None = None,
    sort: TokenOrder | None = None,
) -> Call[TokenPage]:
    """The request."""
    return Call(
        operation="list_tokens",
        method="GET",
        path="/api/v1/tokens",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "identity_id": identity_id,
            "parent_id": parent_id,
            "server_id": server_id,
            "status": status,
            "expires_after": expires_after,
            "expires_before": expires_before,
            "q": q,
            "sort": sort,
        },
        read=TokenPage.from_dict,
    )
