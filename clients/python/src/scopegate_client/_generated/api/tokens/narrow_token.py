"""PATCH /api/v1/tokens/{token_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.token import Token


def call(
    token_id: str,
    fields: JsonObject,
    *,
    if_match: int | str | None = None,
) -> Call[Token]:
    """The request."""
    return Call(
        operation="narrow_token",
        method="PATCH",
        path=path_of(
            "/api/v1/tokens/{token_id}",
            token_id=token_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=Token.from_dict,
    )
