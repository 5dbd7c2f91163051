"""GET /api/v1/access/stale"""

from __future__ import annotations

from collections.abc import Sequence

from ...._call import (
    Call,
)
from ...models.stale_access_page import StaleAccessPage
from ...models.stale_kind import StaleKind
from ...models.stale_state import StaleState


def call(
    *,
    unused_for_days: int | None = None,
    kind: StaleKind | Sequence[StaleKind] | None = None,
    state: StaleState | Sequence[StaleState] | None = None,
    identity_id: str | Sequence[str] | None = None,
    group_id: str | Sequence[str] | None = None,
    grant_id: str | Sequence[str] | None = None,
    server_id: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[StaleAccessPage]:
    """The request."""
    return Call(
        operation="list_stale_access",
        method="GET",
        path="/api/v1/access/stale",
        query={
            "unused_for_days": unused_for_days,
            "kind": kind,
            "state": state,
            "identity_id": identity_id,
            "group_id": group_id,
            "grant_id": grant_id,
            "server_id": server_id,
            "limit": limit,
            "cursor": cursor,
        },
        read=StaleAccessPage.from_dict,
    )
