"""POST /api/v1/groups"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.group import Group


def call(
    fields: JsonObject,
    *,
    idempotency_key: str | None = None,
) -> Call[Group]:
    """The request."""
    return Call(
        operation="create_group",
        method="POST",
        path="/api/v1/groups",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(fields),
        read=Group.from_dict,
    )
