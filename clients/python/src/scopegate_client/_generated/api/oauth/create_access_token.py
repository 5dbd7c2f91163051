"""POST /oauth/token"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.access_token import AccessToken


def call(
    fields: JsonObject,
) -> Call[AccessToken]:
    """The request."""
    return Call(
        operation="create_access_token",
        method="POST",
        path="/oauth/token",
        form=sent_body(fields),
        signed=False,
        read=AccessToken.from_dict,
    )
