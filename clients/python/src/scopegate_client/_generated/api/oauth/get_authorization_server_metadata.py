"""GET /.well-known/oauth-authorization-server"""

from __future__ import annotations

from ...._call import (
    Call,
)
from ...models.authorization_server_metadata import AuthorizationServerMetadata


def call() -> Call[AuthorizationServerMetadata]:
    """The request."""
    return Call(
        operation="get_authorization_server_metadata",
        method="GET",
        path="/.well-known/oauth-authorization-server",
        signed=False,
        read=AuthorizationServerMetadata.from_dict,
    )
