"""PATCH /api/v1/policies/{policy_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.policy import Policy


def call(
    policy_id: str,
    fields: JsonObject,
    *,
    dry_run: bool = False,
    if_match: int | str | None = None,
) -> Call[Policy]:
    """The request."""
    return Call(
        operation="update_policy",
        method="PATCH",
        path=path_of(
            "/api/v1/policies/{policy_id}",
            policy_id=policy_id,
        ),
        query={
            "dry_run": dry_run,
        },
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=Policy.from_dict,
    )
