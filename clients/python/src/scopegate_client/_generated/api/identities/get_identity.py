"""GET /api/v1/identities/{identity_id}"""

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

) -> Call[Identity]:
    """The request."""
    return Call(
        operation="get_identity",
        method="GET",
        path=path_of(
            "/api/v1/identities/{identity_id}",
            identity_id=identity_id,
        ),
        read=Identity.from_dict,
    )
