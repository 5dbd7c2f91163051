"""PUT /api/v1/servers/{server_id}/credential"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    encode,
    entity_tag,
    path_of,
)
from ...models.bearer_credential import BearerCredential
from ...models.env_credential import EnvCredential
from ...models.header_credential import HeaderCredential
from ...models.no_credential import NoCredential
from ...models.o_auth_client_credential import OAuthClientCredential
from ...models.upstream_credential import UpstreamCredential


def call(
    server_id: str,
    body: BearerCredential
    | EnvCredential
    | HeaderCredential
    | NoCredential
    | OAuthClientCredential
    | JsonObject,
    *,
    if_match: int | str | None = None,
) -> Call[UpstreamCredential]:
    """The request."""
    return Call(
        operation="set_server_credential",
        method="PUT",
        path=path_of(
            "/api/v1/servers/{server_id}/credential",
            server_id=server_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=encode(body, "body"),
        read=UpstreamCredential.from_dict,
    )
