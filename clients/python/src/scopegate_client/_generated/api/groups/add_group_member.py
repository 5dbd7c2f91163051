"""PUT /api/v1/groups/{group_id}/members/{identity_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
)
from ...models.group_member import GroupMember


def call(
    group_id: str,
    identity_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[GroupMember]:
    """The request."""
    return Call(
        operation="add_group_member",
        method="PUT",
        path=path_of(
            "/api/v1/groups/{group_id}/members/{identity_id}",
            group_id=group_id,
            identity_id=identity_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=GroupMember.from_dict,
    )
