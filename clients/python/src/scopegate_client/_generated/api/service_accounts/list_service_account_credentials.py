"""GET /api/v1/service-accounts/{service_account_id}/credentials"""

from __future__ import annotations

import datetime

from ...._call import (
    Call,
    path_of,
)
from ...models.service_account_credential_page import ServiceAccountCredentialPage


def call(
    service_account_id: str,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
) -> Call[ServiceAccountCredentialPage]:
    """The request."""
    return Call(
        operation="list_service_account_credentials",
        method="GET",
        path=path_of(
            "/api/v1/service-accounts/{service_account_id}/credentials",
            service_account_id=service_account_id,
        ),
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
        },
        read=ServiceAccountCredentialPage.from_dict,
    )
