"""PATCH /api/v1/groups/{group_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.group import Group
from ...types import UNSET, Unset


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
