"""GET /api/v1/policies/{policy_id}/versions/{version}"""

from __future__ import annotations

from typing import Literal

from ...._call import (
    Call,
    path_of,
)
from ...models.policy_version import PolicyVersion


def call(
    policy_id: str,
    version: str,
    *,
    include: Literal["ended"] | None = None,
) -> Call[PolicyVersion]:
    """The request."""
    return Call(
        operation="get_policy_version",
        method="GET",
        path=path_of(
            "/api/v1/policies/{policy_id}/versions/{version}",
            policy_id=policy_id,
            version=version,
        ),
        query={
            "include": include,
        },
        read=PolicyVersion.from_dict,
    )
