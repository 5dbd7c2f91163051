"""GET /api/v1/tokens/{token_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.token import Token


def call(
    token_id: str,
) -> Call[Token]:
    """The request."""
    return Call(
        operation="get_token",
        method="GET",
        path=path_of(
            "/api/v1/tokens/{token_id}",
            token_id=token_id,
        ),
        read=Token.from_dict,
    )
