"""GET /api/v1/offboarding-receipts/{receipt_id}"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from typing import cast
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
