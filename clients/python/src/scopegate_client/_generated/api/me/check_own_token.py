"""POST /api/v1/me/tokens/{token_id}/check"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    path_of,
    sent_body,
)
from ...models.connection_check import ConnectionCheck


def call(
    token_id: str,
    fields: JsonObject,
) -> Call[ConnectionCheck]:
    """The request."""
    return Call(
        operation="check_own_token",
        method="POST",
        path=path_of(
            "/api/v1/me/tokens/{token_id}/check",
            token_id=token_id,
        ),
        json=sent_body(fields),
        read=ConnectionCheck.from_dict,
    )
