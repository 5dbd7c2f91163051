"""GET /api/v1/grants/{grant_id}"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from typing import cast
from ...types import UNSET, Unset
from typing import Literal, cast
from typing import cast
from ...models.grant import Grant



def call(
    grant_id: str,
    *,
    include: Literal['ended'] | None = None,

) -> Call[Grant]:
    """The request."""
    return Call(
        operation="get_grant",
        method="GET",
        path=path_of(
            "/api/v1/grants/{grant_id}",
            grant_id=grant_id,
        ),
        query={
            "include": include,
        },
        read=Grant.from_dict,
    )
