"""POST /api/v1/tokens/{token_id}/check"""

from __future__ import annotations

from collections.abc import Sequence

from ...._call import (
    Call,
    path_of,
    sent_body,
)
from ...models.connection_check import ConnectionCheck
from ...models.secret import Secret
from ...types import UNSET, Unset


def call(
    token_id: str,
    *,
    secret: Secret | str | Unset = UNSET,
    server_ids: Sequence[str] | Unset = UNSET,
) -> Call[ConnectionCheck]:
    """The request."""
    return Call(
        operation="check_token",
        method="POST",
        path=path_of(
            "/api/v1/tokens/{token_id}/check",
            token_id=token_id,
        ),
        json=sent_body(
            {
                "secret": secret,
                "server_ids": server_ids,
            }
        ),
        read=ConnectionCheck.from_dict,
    )
