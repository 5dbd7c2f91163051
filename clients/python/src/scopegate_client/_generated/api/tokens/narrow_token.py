"""PATCH /api/v1/tokens/{token_id}"""

from __future__ import annotations

import datetime

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.grants_scope import GrantsScope
from ...models.listed_scope import ListedScope
from ...models.token import Token
from ...types import UNSET, Unset


def call(
    token_id: str,
    *,
    name: str | Unset = UNSET,
    scope: GrantsScope | ListedScope | JsonObject | Unset = UNSET,
    expires_at: datetime.datetime | Unset = UNSET,
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
        json=sent_body(
            {
                "name": name,
                "scope": scope,
                "expires_at": expires_at,
            }
        ),
        read=Token.from_dict,
    )
