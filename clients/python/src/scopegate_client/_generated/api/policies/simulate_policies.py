"""POST /api/v1/policies/simulate"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.policy_simulation import PolicySimulation
from ...models.simulated_change import SimulatedChange
from ...types import UNSET, Unset


def call(
    *,
    changes: Sequence[SimulatedChange | JsonObject],
    days: int | None | Unset = UNSET,
    since: datetime.datetime | None | Unset = UNSET,
    limit: int | Unset = UNSET,
) -> Call[PolicySimulation]:
    """The request."""
    return Call(
        operation="simulate_policies",
        method="POST",
        path="/api/v1/policies/simulate",
        json=sent_body(
            {
                "changes": changes,
                "days": days,
                "since": since,
                "limit": limit,
            }
        ),
        read=PolicySimulation.from_dict,
    )
