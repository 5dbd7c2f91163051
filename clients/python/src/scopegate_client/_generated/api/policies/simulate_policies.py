"""POST /api/v1/policies/simulate"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset
from typing import cast
from ...models.simulated_change import SimulatedChange
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
import datetime
from ...types import UNSET, Unset

from typing import cast
from ...models.policy_simulation import PolicySimulation



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
