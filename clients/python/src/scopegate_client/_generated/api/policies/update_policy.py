"""PATCH /api/v1/policies/{policy_id}"""

from __future__ import annotations

from collections.abc import Sequence

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.policy import Policy
from ...models.policy_mode import PolicyMode
from ...models.policy_test import PolicyTest
from ...types import UNSET, Unset


def call(
    policy_id: str,
    *,
    name: str | Unset = UNSET,
    description: str | None | Unset = UNSET,
    text: str | Unset = UNSET,
    mode: PolicyMode | Unset = UNSET,
    tests: Sequence[PolicyTest | JsonObject] | Unset = UNSET,
    dry_run: bool = False,
    if_match: int | str | None = None,
) -> Call[Policy]:
    """The request."""
    return Call(
        operation="update_policy",
        method="PATCH",
        path=path_of(
            "/api/v1/policies/{policy_id}",
            policy_id=policy_id,
        ),
        query={
            "dry_run": dry_run,
        },
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(
            {
                "name": name,
                "description": description,
                "text": text,
                "mode": mode,
                "tests": tests,
            }
        ),
        read=Policy.from_dict,
    )
