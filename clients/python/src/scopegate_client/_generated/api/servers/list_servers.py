"""GET /api/v1/servers"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Literal

from ...._call import (
    Call,
)
from ...models.server_order import ServerOrder
from ...models.server_page import ServerPage
from ...models.server_status import ServerStatus
from ...models.sync_state import SyncState
from ...models.transport import Transport


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    status: ServerStatus | Sequence[ServerStatus] | None = None,
    transport: Transport | Sequence[Transport] | None = None,
    sync_state: SyncState | Sequence[SyncState] | None = None,
    slug: str | Sequence[str] | None = None,
    owner_group_id: str | Sequence[str] | None = None,
    q: str | None = None,
    include: Literal["ended"] | None = None,
    sort: ServerOrder | None = None,
) -> Call[ServerPage]:
    """The request."""
    return Call(
        operation="list_servers",
        method="GET",
        path="/api/v1/servers",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "status": status,
            "transport": transport,
            "sync_state": sync_state,
            "slug": slug,
            "owner_group_id": owner_group_id,
            "q": q,
            "include": include,
            "sort": sort,
        },
        read=ServerPage.from_dict,
    )
