"""GET /api/v1/servers/{server_id}/credentials"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from typing import cast
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
