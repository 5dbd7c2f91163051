"""POST /api/v1/policies/{policy_id}/unpublish"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
)
from ...models.policy_change import PolicyChange


def call(
    policy_id: str,
    *,
    dry_run: bool = False,
    if_match: int | str | None = None,
) -> Call[PolicyChange]:
    """The request."""
    return Call(
        operation="unpublish_policy",
        method="POST",
        path=path_of(
            "/api/v1/policies/{policy_id}/unpublish",
            policy_id=policy_id,
        ),
        query={
            "dry_run": dry_run,
        },
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=PolicyChange.from_dict,
    )
