"""GET /api/v1/policies/schema"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from ...types import UNSET, Unset
from typing import cast
from typing import cast
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
