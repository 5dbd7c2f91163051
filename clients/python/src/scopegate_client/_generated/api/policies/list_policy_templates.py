"""GET /api/v1/policies/templates"""

from __future__ import annotations

from ...._call import (
    Call,
)
from ...models.policy_templates import PolicyTemplates


def call() -> Call[PolicyTemplates]:
    """The request."""
    return Call(
        operation="list_policy_templates",
        method="GET",
        path="/api/v1/policies/templates",
        read=PolicyTemplates.from_dict,
    )
