"""GET /api/v1/identities/{identity_id}/access"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from ...types import UNSET, Unset
from typing import cast
import datetime
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from typing import cast
from ...models.identity_access import IdentityAccess



def call(
    identity_id: str,
    *,
    at: datetime.datetime | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    server_id: str | Sequence[str] | None = None,

) -> Call[IdentityAccess]:
    """The request."""
    return Call(
        operation="list_identity_access",
        method="GET",
        path=path_of(
            "/api/v1/identities/{identity_id}/access",
            identity_id=identity_id,
        ),
        query={
            "at": at,
            "limit": limit,
            "cursor": cursor,
            "server_id": server_id,
        },
        read=IdentityAccess.from_dict,
    )
