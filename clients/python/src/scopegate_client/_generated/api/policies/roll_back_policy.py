"""POST /api/v1/policies/{policy_id}/rollback"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.policy_change import PolicyChange


def call(
    policy_id: str,
    fields: JsonObject,
    *,
    ignore_failed_tests: bool = False,
    dry_run: bool = False,
    if_match: int | str | None = None,
) -> Call[PolicyChange]:
    """The request."""
    return Call(
        operation="roll_back_policy",
        method="POST",
        path=path_of(
            "/api/v1/policies/{policy_id}/rollback",
            policy_id=policy_id,
        ),
        query={
            "ignore_failed_tests": ignore_failed_tests,
            "dry_run": dry_run,
        },
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=PolicyChange.from_dict,
    )
