"""DELETE /api/v1/identity-providers/{identity_provider_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    nothing,
    path_of,
)


def call(
    identity_provider_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[None]:
    """The request."""
    return Call(
        operation="delete_identity_provider",
        method="DELETE",
        path=path_of(
            "/api/v1/identity-providers/{identity_provider_id}",
            identity_provider_id=identity_provider_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=nothing,
    )
