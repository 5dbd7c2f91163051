"""POST /api/v1/tokens/{token_id}/rotate"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.issued_token import IssuedToken


def call(
    token_id: str,
    fields: JsonObject,
    *,
    if_match: int | str | None = None,
) -> Call[IssuedToken]:
    """The request."""
    return Call(
        operation="rotate_token",
        method="POST",
        path=path_of(
            "/api/v1/tokens/{token_id}/rotate",
            token_id=token_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=IssuedToken.from_dict,
    )
