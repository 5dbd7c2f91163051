"""GET /api/v1/offboarding-receipts/{receipt_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.offboarding_receipt import OffboardingReceipt


def call(
    receipt_id: str,
) -> Call[OffboardingReceipt]:
    """The request."""
    return Call(
        operation="get_offboarding_receipt",
        method="GET",
        path=path_of(
            "/api/v1/offboarding-receipts/{receipt_id}",
            receipt_id=receipt_id,
        ),
        read=OffboardingReceipt.from_dict,
    )
