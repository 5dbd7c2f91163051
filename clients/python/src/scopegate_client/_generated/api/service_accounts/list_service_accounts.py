"""GET /api/v1/service-accounts"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Literal

from ...._call import (
    Call,
)
from ...models.role import Role
from ...models.service_account_order import ServiceAccountOrder
from ...models.service_account_page import ServiceAccountPage
from ...models.service_account_status import ServiceAccountStatus


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    status: ServiceAccountStatus | Sequence[ServiceAccountStatus] | None = None,
    role: Role | Sequence[Role] | None = None,
    owner_id: str | Sequence[str] | None = None,
    q: str | None = None,
    include: Literal["ended"] | None = None,
    sort: ServiceAccountOrder | None = None,
) -> Call[ServiceAccountPage]:
    """The request."""
    return Call(
        operation="list_service_accounts",
        method="GET",
        path="/api/v1/service-accounts",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "status": status,
            "role": role,
            "owner_id": owner_id,
            "q": q,
            "include": include,
            "sort": sort,
        },
        read=ServiceAccountPage.from_dict,
    )
