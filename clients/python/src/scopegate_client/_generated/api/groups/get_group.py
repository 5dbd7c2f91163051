"""GET /api/v1/groups/{group_id}"""

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
from ...models.group import Group



def call(
    group_id: str,
    *,
    include: Literal['ended'] | None = None,

) -> Call[Group]:
    """The request."""
    return Call(
        operation="get_group",
        method="GET",
        path=path_of(
            "/api/v1/groups/{group_id}",
            group_id=group_id,
        ),
        query={
            "include": include,
        },
        read=Group.from_dict,
    )
