"""PATCH /api/v1/identity-providers/{identity_provider_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.identity_provider import IdentityProvider


def call(
    identity_provider_id: str,
    fields: JsonObject,
    *,
    if_match: int | str | None = None,
) -> Call[IdentityProvider]:
    """The request."""
    return Call(
        operation="update_identity_provider",
        method="PATCH",
        path=path_of(
            "/api/v1/identity-providers/{identity_provider_id}",
            identity_provider_id=identity_provider_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=IdentityProvider.from_dict,
    )
