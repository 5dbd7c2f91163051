"""GET /api/v1/offboarding-receipts"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
)
from ...models.offboarding_receipt_page import OffboardingReceiptPage


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    identity_id: str | Sequence[str] | None = None,
) -> Call[OffboardingReceiptPage]:
    """The request."""
    return Call(
        operation="list_offboarding_receipts",
        method="GET",
        path="/api/v1/offboarding-receipts",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "identity_id": identity_id,
        },
        read=OffboardingReceiptPage.from_dict,
    )
