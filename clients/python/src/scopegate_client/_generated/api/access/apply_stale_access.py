"""POST /api/v1/access/stale/apply"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.stale_applied import StaleApplied


def call(
    fields: JsonObject,
    *,
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
        json=sent_body(fields),
        read=StaleApplied.from_dict,
    )
