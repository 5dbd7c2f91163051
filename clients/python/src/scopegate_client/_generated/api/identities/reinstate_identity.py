"""POST /api/v1/identities/{identity_id}/reinstate"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from typing import cast
from ...models.identity import Identity



def call(
    identity_id: str,
    *,
    if_match: int | str | None = None,

) -> Call[Identity]:
    """The request."""
    return Call(
        operation="reinstate_identity",
        method="POST",
        path=path_of(
            "/api/v1/identities/{identity_id}/reinstate",
            identity_id=identity_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=Identity.from_dict,
    )
