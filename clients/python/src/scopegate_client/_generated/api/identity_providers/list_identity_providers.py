"""GET /api/v1/identity-providers"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Literal

from ...._call import (
    Call,
)
from ...models.identity_provider_order import IdentityProviderOrder
from ...models.identity_provider_page import IdentityProviderPage
from ...models.identity_provider_source import IdentityProviderSource
from ...models.identity_provider_status import IdentityProviderStatus


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    status: IdentityProviderStatus | Sequence[IdentityProviderStatus] | None = None,
    source: IdentityProviderSource | Sequence[IdentityProviderSource] | None = None,
    issuer: str | Sequence[str] | None = None,
    q: str | None = None,
    include: Literal["ended"] | None = None,
    sort: IdentityProviderOrder | None = None,
) -> Call[IdentityProviderPage]:
    """The request."""
    return Call(
        operation="list_identity_providers",
        method="GET",
        path="/api/v1/identity-providers",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "status": status,
            "source": source,
            "issuer": issuer,
            "q": q,
            "include": include,
            "sort": sort,
        },
        read=IdentityProviderPage.from_dict,
    )
