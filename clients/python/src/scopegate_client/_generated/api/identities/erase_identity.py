"""POST /api/v1/identities/{identity_id}/erase"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
)
from ...models.identity import Identity


def call(
    identity_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[Identity]:
    """The request."""
    return Call(
        operation="erase_identity",
        method="POST",
        path=path_of(
            "/api/v1/identities/{identity_id}/erase",
            identity_id=identity_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=Identity.from_dict,
    )
