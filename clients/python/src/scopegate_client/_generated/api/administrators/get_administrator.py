"""GET /api/v1/administrators/{administrator_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
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
