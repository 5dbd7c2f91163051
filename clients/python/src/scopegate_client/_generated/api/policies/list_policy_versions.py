"""GET /api/v1/policies/{policy_id}/versions"""

from __future__ import annotations

from typing import Literal

from ...._call import (
    Call,
    path_of,
)
from ...models.policy_version_page import PolicyVersionPage


def call(
    policy_id: str,
    *,
    include: Literal["ended"] | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[PolicyVersionPage]:
    """The request."""
    return Call(
        operation="list_policy_versions",
        method="GET",
        path=path_of(
            "/api/v1/policies/{policy_id}/versions",
            policy_id=policy_id,
        ),
        query={
            "include": include,
            "limit": limit,
            "cursor": cursor,
        },
        read=PolicyVersionPage.from_dict,
    )
