"""POST /api/v1/policies/{policy_id}/test"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.policy_test_report import PolicyTestReport


def call(
    policy_id: str,
) -> Call[PolicyTestReport]:
    """The request."""
    return Call(
        operation="test_policy",
        method="POST",
        path=path_of(
            "/api/v1/policies/{policy_id}/test",
            policy_id=policy_id,
        ),
        read=PolicyTestReport.from_dict,
    )
