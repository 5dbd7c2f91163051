"""PATCH /api/v1/grants/{grant_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.grant import Grant


def call(
    grant_id: str,
    fields: JsonObject,
    *,
    if_match: int | str | None = None,
) -> Call[Grant]:
    """The request."""
    return Call(
        operation="update_grant",
        method="PATCH",
        path=path_of(
            "/api/v1/grants/{grant_id}",
            grant_id=grant_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=Grant.from_dict,
    )
