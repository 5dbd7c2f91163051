"""GET /api/v1/servers/{server_id}/credentials"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.upstream_credential_page import UpstreamCredentialPage


def call(
    server_id: str,
    *,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[UpstreamCredentialPage]:
    """The request."""
    return Call(
        operation="list_server_credentials",
        method="GET",
        path=path_of(
            "/api/v1/servers/{server_id}/credentials",
            server_id=server_id,
        ),
        query={
            "limit": limit,
            "cursor": cursor,
        },
        read=UpstreamCredentialPage.from_dict,
    )
