"""GET /api/v1/identity-providers/{identity_provider_id}"""

from __future__ import annotations

from typing import Literal

from ...._call import (
    Call,
    path_of,
)
from ...models.identity_provider import IdentityProvider


def call(
    identity_provider_id: str,
    *,
    include: Literal["ended"] | None = None,
) -> Call[IdentityProvider]:
    """The request."""
    return Call(
        operation="get_identity_provider",
        method="GET",
        path=path_of(
            "/api/v1/identity-providers/{identity_provider_id}",
            identity_provider_id=identity_provider_id,
        ),
        query={
            "include": include,
        },
        read=IdentityProvider.from_dict,
    )
