"""DELETE /api/v1/groups/{group_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    nothing,
    path_of,
)


def call(
    group_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[None]:
    """The request."""
    return Call(
        operation="delete_group",
        method="DELETE",
        path=path_of(
            "/api/v1/groups/{group_id}",
            group_id=group_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=nothing,
    )
