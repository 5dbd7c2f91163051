"""GET /api/v1/me/requestable-servers"""

from __future__ import annotations

import datetime

from ...._call import (
    Call,
)
from ...models.requestable_server_page import RequestableServerPage


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    q: str | None = None,
) -> Call[RequestableServerPage]:
    """The request."""
    return Call(
        operation="list_requestable_servers",
        method="GET",
        path="/api/v1/me/requestable-servers",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "q": q,
        },
        read=RequestableServerPage.from_dict,
    )
