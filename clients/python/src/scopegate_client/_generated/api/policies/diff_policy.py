"""GET /api/v1/policies/{policy_id}/diff"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.policy_diff import PolicyDiff


def call(
    policy_id: str,
    *,
    from_: str | None = None,
    to: str | None = None,
) -> Call[PolicyDiff]:
    """The request."""
    return Call(
        operation="diff_policy",
        method="GET",
        path=path_of(
            "/api/v1/policies/{policy_id}/diff",
            policy_id=policy_id,
        ),
        query={
            "from": from_,
            "to": to,
        },
        read=PolicyDiff.from_dict,
    )
