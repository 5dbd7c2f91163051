"""POST /api/v1/tokens/bulk-revoke"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.token_bulk_revocation import TokenBulkRevocation


def call(
    fields: JsonObject,
    *,
    dry_run: bool = False,
) -> Call[TokenBulkRevocation]:
    """The request."""
    return Call(
        operation="bulk_revoke_tokens",
        method="POST",
        path="/api/v1/tokens/bulk-revoke",
        query={
            "dry_run": dry_run,
        },
        json=sent_body(fields),
        read=TokenBulkRevocation.from_dict,
    )
