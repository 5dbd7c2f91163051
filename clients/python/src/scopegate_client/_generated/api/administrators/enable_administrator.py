"""POST /api/v1/administrators/{administrator_id}/enable"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
)
from ...models.administrator import Administrator


def call(
    administrator_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[Administrator]:
    """The request."""
    return Call(
        operation="enable_administrator",
        method="POST",
        path=path_of(
            "/api/v1/administrators/{administrator_id}/enable",
            administrator_id=administrator_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=Administrator.from_dict,
    )
