"""GET /livez"""

from __future__ import annotations

from ...._call import (
    Call,
)
from ...models.get_liveness_response_get_liveness import GetLivenessResponseGetLiveness


def call() -> Call[GetLivenessResponseGetLiveness]:
    """The request."""
    return Call(
        operation="get_liveness",
        method="GET",
        path="/livez",
        signed=False,
        read=GetLivenessResponseGetLiveness.from_dict,
    )
