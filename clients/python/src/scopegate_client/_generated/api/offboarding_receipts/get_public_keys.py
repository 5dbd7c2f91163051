"""GET /.well-known/jwks.json"""

from __future__ import annotations

from ...._call import (
    Call,
)
from ...models.json_web_key_set import JsonWebKeySet


def call() -> Call[JsonWebKeySet]:
    """The request."""
    return Call(
        operation="get_public_keys",
        method="GET",
        path="/.well-known/jwks.json",
        signed=False,
        read=JsonWebKeySet.from_dict,
    )
