"""GET /api/v1/administrators"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
)
from ...models.administrator_order import AdministratorOrder
from ...models.administrator_page import AdministratorPage
from ...models.administrator_status import AdministratorStatus
from ...models.role import Role


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    status: AdministratorStatus | Sequence[AdministratorStatus] | None = None,
    role: Role | Sequence[Role] | None = None,
    identity_id: str | Sequence[str] | None = None,
    q: str | None = None,
    sort: AdministratorOrder | None = None,
) -> Call[AdministratorPage]:
    """The request."""
    return Call(
        operation="list_administrators",
        method="GET",
        path="/api/v1/administrators",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "status": status,
            "role": role,
            "identity_id": identity_id,
            "q": q,
            "sort": sort,
        },
        read=AdministratorPage.from_dict,
    )
