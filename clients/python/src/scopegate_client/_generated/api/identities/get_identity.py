"""GET /api/v1/identities/{identity_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.identity import Identity


def call(
    identity_id: str,
) -> Call[Identity]:
    """The request."""
    return Call(
        operation="get_identity",
        method="GET",
        path=path_of(
            "/api/v1/identities/{identity_id}",
            identity_id=identity_id,
        ),
        read=Identity.from_dict,
    )
