"""PATCH /api/v1/identities/{identity_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.identity import Identity


def call(
    identity_id: str,
    fields: JsonObject,
    *,
    if_match: int | str | None = None,
) -> Call[Identity]:
    """The request."""
    return Call(
        operation="update_identity",
        method="PATCH",
        path=path_of(
            "/api/v1/identities/{identity_id}",
            identity_id=identity_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=Identity.from_dict,
    )
