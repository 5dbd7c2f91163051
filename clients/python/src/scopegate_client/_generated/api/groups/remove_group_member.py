"""DELETE /api/v1/groups/{group_id}/members/{identity_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    nothing,
    path_of,
)


def call(
    group_id: str,
    identity_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[None]:
    """The request."""
    return Call(
        operation="remove_group_member",
        method="DELETE",
        path=path_of(
            "/api/v1/groups/{group_id}/members/{identity_id}",
            group_id=group_id,
            identity_id=identity_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=nothing,
    )
