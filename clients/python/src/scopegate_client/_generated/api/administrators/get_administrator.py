"""GET /api/v1/administrators/{administrator_id}"""

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

) -> Call[Administrator]:
    """The request."""
    return Call(
        operation="get_administrator",
        method="GET",
        path=path_of(
            "/api/v1/administrators/{administrator_id}",
            administrator_id=administrator_id,
        ),
        read=Administrator.from_dict,
    )
