"""POST /api/v1/tokens"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.grants_scope import GrantsScope
from ...models.issued_token import IssuedToken
from ...models.listed_scope import ListedScope
from ...models.token_delivery import TokenDelivery
from ...types import UNSET, Unset


def call(
    *,
    identity_id: str,
    name: str,
    scope: GrantsScope | ListedScope | JsonObject,
    expires_at: datetime.datetime,
    ip_allow: Sequence[str] | Unset = UNSET,
    parent_id: str | None | Unset = UNSET,
    delivery: TokenDelivery | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[IssuedToken]:
    """The request."""
    return Call(
        operation="create_token",
        method="POST",
        path="/api/v1/tokens",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(
            {
                "identity_id": identity_id,
                "name": name,
                "scope": scope,
                "expires_at": expires_at,
                "ip_allow": ip_allow,
                "parent_id": parent_id,
                "delivery": delivery,
            }
        ),
        read=IssuedToken.from_dict,
    )
