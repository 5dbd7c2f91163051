"""GET /api/v1/policies/schema"""

from __future__ import annotations

from ...._call import (
    Call,
)
from ...models.policy_schema import PolicySchema


def call(
    *,
    tool_id: str | None = None,
) -> Call[PolicySchema]:
    """The request."""
    return Call(
        operation="get_policy_schema",
        method="GET",
        path="/api/v1/policies/schema",
        query={
            "tool_id": tool_id,
        },
        read=PolicySchema.from_dict,
    )
