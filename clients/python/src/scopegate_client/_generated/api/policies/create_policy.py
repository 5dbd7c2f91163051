"""POST /api/v1/policies"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.policy import Policy


def call(
    fields: JsonObject,
    *,
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
        json=sent_body(fields),
        read=Policy.from_dict,
    )
