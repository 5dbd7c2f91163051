"""GET /api/v1/grants/{grant_id}"""

from __future__ import annotations

from typing import Literal

from ...._call import (
    Call,
    path_of,
)
from ...models.grant import Grant


def call(
    grant_id: str,
    *,
    include: Literal["ended"] | None = None,
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
