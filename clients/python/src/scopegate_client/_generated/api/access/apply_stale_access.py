"""POST /api/v1/access/stale/apply"""

from __future__ import annotations

from collections.abc import Sequence

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.applied_proposal import AppliedProposal
from ...models.stale_applied import StaleApplied


def call(
    *,
    unused_for_days: int,
    items: Sequence[AppliedProposal | JsonObject],
    dry_run: bool = False,
) -> Call[StaleApplied]:
    """The request."""
    return Call(
        operation="apply_stale_access",
        method="POST",
        path="/api/v1/access/stale/apply",
        query={
            "dry_run": dry_run,
        },
        json=sent_body(
            {
                "unused_for_days": unused_for_days,
                "items": items,
            }
        ),
        read=StaleApplied.from_dict,
    )
