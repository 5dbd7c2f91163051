"""POST /api/v1/policies/simulate"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.policy_simulation import PolicySimulation


def call(
    fields: JsonObject,
) -> Call[PolicySimulation]:
    """The request."""
    return Call(
        operation="simulate_policies",
        method="POST",
        path="/api/v1/policies/simulate",
        json=sent_body(fields),
        read=PolicySimulation.from_dict,
    )
