"""GET /api/v1/policies/{policy_id}"""

from __future__ import annotations

from typing import Literal

from ...._call import (
    Call,
    path_of,
)
from ...models.policy import Policy


def call(
    policy_id: str,
    *,
    include: Literal["ended"] | None = None,
) -> Call[Policy]:
    """The request."""
    return Call(
        operation="get_policy",
        method="GET",
        path=path_of(
            "/api/v1/policies/{policy_id}",
            policy_id=policy_id,
        ),
        query={
            "include": include,
        },
        read=Policy.from_dict,
    )
