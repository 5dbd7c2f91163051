"""GET /api/v1/identities"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
)
from ...models.identity_kind import IdentityKind
from ...models.identity_order import IdentityOrder
from ...models.identity_page import IdentityPage
from ...models.identity_status import IdentityStatus
from ...models.source import Source


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    kind: IdentityKind | Sequence[IdentityKind] | None = None,
    status: IdentityStatus | Sequence[IdentityStatus] | None = None,
    source: Source | Sequence[Source] | None = None,
    owner_id: str | Sequence[str] | None = None,
    external_id: str | Sequence[str] | None = None,
    user_name: str | Sequence[str] | None = None,
    q: str | None = None,
    sort: IdentityOrder | None = None,
) -> Call[IdentityPage]:
    """The request."""
    return Call(
        operation="list_identities",
        method="GET",
        path="/api/v1/identities",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "kind": kind,
            "status": status,
            "source": source,
            "owner_id": owner_id,
            "external_id": external_id,
            "user_name": user_name,
            "q": q,
            "sort": sort,
        },
        read=IdentityPage.from_dict,
    )
