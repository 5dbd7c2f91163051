"""GET /api/v1/service-accounts/{service_account_id}"""

from __future__ import annotations

from typing import Literal

from ...._call import (
    Call,
    path_of,
)
from ...models.service_account import ServiceAccount


def call(
    service_account_id: str,
    *,
    include: Literal["ended"] | None = None,
) -> Call[ServiceAccount]:
    """The request."""
    return Call(
        operation="get_service_account",
        method="GET",
        path=path_of(
            "/api/v1/service-accounts/{service_account_id}",
            service_account_id=service_account_id,
        ),
        query={
            "include": include,
        },
        read=ServiceAccount.from_dict,
    )
