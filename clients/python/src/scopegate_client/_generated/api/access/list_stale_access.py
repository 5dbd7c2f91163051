"""GET /api/v1/access/stale"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from ...models.stale_kind import StaleKind
from ...types import UNSET, Unset
from typing import cast
from ...models.stale_state import StaleState
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from typing import cast
from ...models.stale_access_page import StaleAccessPage



def call(
    *,
    unused_for_days: int | None = None,
    kind: StaleKind | Sequence[StaleKind] | None = None,
    state: StaleState | Sequence[StaleState] | None = None,
    identity_id: str | Sequence[str] | None = None,
    group_id: str | Sequence[str] | None = None,
    grant_id: str | Sequence[str] | None = None,
    server_id: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,

) -> Call[StaleAccessPage]:
    """The request."""
    return Call(
        operation="list_stale_access",
        method="GET",
        path="/api/v1/access/stale",
        query={
            "unused_for_days": unused_for_days,
            "kind": kind,
            "state": state,
            "identity_id": identity_id,
            "group_id": group_id,
            "grant_id": grant_id,
            "server_id": server_id,
            "limit": limit,
            "cursor": cursor,
        },
        read=StaleAccessPage.from_dict,
    )
