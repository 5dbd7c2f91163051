"""GET /api/v1/access/matrix"""

from __future__ import annotations

from collections.abc import Sequence

from ...._call import (
    Call,
)
from ...models.access_matrix import AccessMatrix


def call(
    *,
    identity_id: str | Sequence[str],
    server_id: str | Sequence[str],
) -> Call[AccessMatrix]:
    """The request."""
    return Call(
        operation="get_access_matrix",
        method="GET",
        path="/api/v1/access/matrix",
        query={
            "identity_id": identity_id,
            "server_id": server_id,
        },
        read=AccessMatrix.from_dict,
    )
