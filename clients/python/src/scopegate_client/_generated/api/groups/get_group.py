"""GET /api/v1/groups/{group_id}"""

from __future__ import annotations

from typing import Literal

from ...._call import (
    Call,
    path_of,
)
from ...models.group import Group


def call(
    group_id: str,
    *,
    include: Literal["ended"] | None = None,
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
