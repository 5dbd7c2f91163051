"""POST /api/v1/administrators/{administrator_id}/disable"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from typing import cast
from ...models.administrator import Administrator



def call(
    administrator_id: str,
    *,
    if_match: int | str | None = None,

) -> Call[Administrator]:
    """The request."""
    return Call(
        operation="disable_administrator",
        method="POST",
        path=path_of(
            "/api/v1/administrators/{administrator_id}/disable",
            administrator_id=administrator_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=Administrator.from_dict,
    )
