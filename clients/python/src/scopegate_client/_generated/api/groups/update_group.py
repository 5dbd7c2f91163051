"""PATCH /api/v1/groups/{group_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.group import Group


def call(
    group_id: str,
    fields: JsonObject,
    *,
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
        json=sent_body(fields),
        read=Group.from_dict,
    )
