"""PATCH /api/v1/groups/{group_id}"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast

from typing import cast
from ...models.group import Group



def call(
    group_id: str,
    *,
    name: str | Unset = UNSET,
    description: str | None | Unset = UNSET,
    external_id: str | None | Unset = UNSET,
    owner_group_id: str | None | Unset = UNSET,
    if_match: int | str | None = None,

) -> Call[Group]:
    """The request."""
    return Call(
        operation="update_group",
        method="PATCH",
        path=path_of(
            "/api/v1/groups/{group_id}",
            group_id=group_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(
            {
                "name": name,
                "description": description,
                "external_id": external_id,
                "owner_group_id": owner_group_id,
            }
        ),
        read=Group.from_dict,
    )
