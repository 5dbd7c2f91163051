"""GET /api/v1/invitations"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
)
from ...models.invitation_page import InvitationPage
from ...models.invitation_status import InvitationStatus


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    status: InvitationStatus | Sequence[InvitationStatus] | None = None,
    identity_id: str | Sequence[str] | None = None,
    provider_id: str | Sequence[str] | None = None,
) -> Call[InvitationPage]:
    """The request."""
    return Call(
        operation="list_invitations",
        method="GET",
        path="/api/v1/invitations",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "status": status,
            "identity_id": identity_id,
            "provider_id": provider_id,
        },
        read=InvitationPage.from_dict,
    )
