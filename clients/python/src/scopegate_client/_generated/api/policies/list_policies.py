"""GET /api/v1/policies"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Literal

from ...._call import (
    Call,
)
from ...models.policy_mode import PolicyMode
from ...models.policy_order import PolicyOrder
from ...models.policy_page import PolicyPage
from ...models.policy_status import PolicyStatus


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    name: str | Sequence[str] | None = None,
    status: PolicyStatus | Sequence[PolicyStatus] | None = None,
    mode: PolicyMode | Sequence[PolicyMode] | None = None,
    q: str | None = None,
    include: Literal["ended"] | None = None,
    sort: PolicyOrder | None = None,
) -> Call[PolicyPage]:
    """The request."""
    return Call(
        operation="list_policies",
        method="GET",
        path="/api/v1/policies",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "name": name,
            "status": status,
            "mode": mode,
            "q": q,
            "include": include,
            "sort": sort,
        },
        read=PolicyPage.from_dict,
    )
