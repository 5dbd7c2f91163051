"""GET /api/v1/groups/{group_id}/members/{identity_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.group_member import GroupMember


def call(
    group_id: str,
    identity_id: str,
) -> Call[GroupMember]:
    """The request."""
    return Call(
        operation="get_group_member",
        method="GET",
        path=path_of(
            "/api/v1/groups/{group_id}/members/{identity_id}",
            group_id=group_id,
            identity_id=identity_id,
        ),
        read=GroupMember.from_dict,
    )
