"""POST /api/v1/policies"""

from __future__ import annotations

from collections.abc import Sequence

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.policy import Policy
from ...models.policy_mode import PolicyMode
from ...models.policy_test import PolicyTest
from ...types import UNSET, Unset


def call(
    *,
    name: str,
    text: str,
    description: str | None | Unset = UNSET,
    mode: PolicyMode | Unset = UNSET,
    tests: Sequence[PolicyTest | JsonObject] | Unset = UNSET,
    dry_run: bool = False,
    idempotency_key: str | None = None,
) -> Call[Policy]:
    """The request."""
    return Call(
        operation="create_policy",
        method="POST",
        path="/api/v1/policies",
        query={
            "dry_run": dry_run,
        },
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(
            {
                "name": name,
                "text": text,
                "description": description,
                "mode": mode,
                "tests": tests,
            }
        ),
        read=Policy.from_dict,
    )
