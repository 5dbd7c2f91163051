"""POST /api/v1/groups"""

from __future__ import annotations

from ...._call import (
    Call,
    sent_body,
)
from ...models.group import Group
from ...types import UNSET, Unset


def call(
    *,
    name: str,
    description: str | None | Unset = UNSET,
    external_id: str | None | Unset = UNSET,
    owner_group_id: str | None | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[Group]:
    """The request."""
    return Call(
        operation="create_group",
        method="POST",
        path="/api/v1/groups",
        takes_key=True,
        idempotency_key=idempotency_key,
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
