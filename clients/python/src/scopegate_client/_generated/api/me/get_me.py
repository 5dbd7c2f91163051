"""GET /api/v1/me"""

from __future__ import annotations

from ...._call import (
    Call,
)
from ...models.me import Me


def call() -> Call[Me]:
    """The request."""
    return Call(
        operation="get_me",
        method="GET",
        path="/api/v1/me",
        read=Me.from_dict,
    )
