"""POST /oauth/token"""

from __future__ import annotations

from typing import Literal

from ...._call import (
    Call,
    sent_body,
)
from ...models.access_token import AccessToken
from ...models.secret import Secret
from ...types import UNSET, Unset


def call(
    *,
    grant_type: Literal["client_credentials"],
    client_id: str | Unset = UNSET,
    client_secret: Secret | str | Unset = UNSET,
) -> Call[AccessToken]:
    """The request."""
    return Call(
        operation="create_access_token",
        method="POST",
        path="/oauth/token",
        form=sent_body(
            {
                "grant_type": grant_type,
                "client_id": client_id,
                "client_secret": client_secret,
            }
        ),
        signed=False,
        read=AccessToken.from_dict,
    )
