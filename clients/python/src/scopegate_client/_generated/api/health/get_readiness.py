"""GET /readyz"""

from __future__ import annotations

from typing import Any

from ...._call import (
    Call,
    anything,
)


def call() -> Call[Any]:
    """The request."""
    return Call(
        operation="get_readiness",
        method="GET",
        path="/readyz",
        signed=False,
        read=anything,
    )
