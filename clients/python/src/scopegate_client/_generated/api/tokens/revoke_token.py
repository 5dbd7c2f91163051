"""POST /api/v1/tokens/{token_id}/revoke"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.token_revocation import TokenRevocation


def call(
    token_id: str,
    fields: JsonObject,
    *,
    dry_run: bool = False,
    if_match: int | str | None = None,
) -> Call[TokenRevocation]:
    """The request."""
    return Call(
        operation="revoke_token",
        method="POST",
        path=path_of(
            "/api/v1/tokens/{token_id}/revoke",
            token_id=token_id,
        ),
        query={
            "dry_run": dry_run,
        },
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=TokenRevocation.from_dict,
    )
