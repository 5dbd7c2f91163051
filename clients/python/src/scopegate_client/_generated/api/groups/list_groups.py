"""GET /api/v1/groups"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Literal

from ...._call import (
    Call,
)
from ...models.group_order import GroupOrder
from ...models.group_page import GroupPage
from ...models.source import Source


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    name: str | Sequence[str] | None = None,
    external_id: str | Sequence[str] | None = None,
    source: Source | Sequence[Source] | None = None,
    member_id: str | Sequence[str] | None = None,
    q: str | None = None,
    include: Literal["ended"] | None = None,
    sort: GroupOrder | None = None,
) -> Call[GroupPage]:
    """The request."""
    return Call(
        operation="list_groups",
        method="GET",
        path="/api/v1/groups",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "name": name,
            "external_id": external_id,
            "source": source,
            "member_id": member_id,
            "q": q,
            "include": include,
            "sort": sort,
        },
        read=GroupPage.from_dict,
    )
