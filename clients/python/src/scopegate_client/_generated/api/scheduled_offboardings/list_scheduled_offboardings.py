"""GET /api/v1/scheduled-offboardings"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
)
from ...models.scheduled_offboarding_page import ScheduledOffboardingPage
from ...models.scheduled_offboarding_status import ScheduledOffboardingStatus


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    identity_id: str | Sequence[str] | None = None,
    status: ScheduledOffboardingStatus | Sequence[ScheduledOffboardingStatus] | None = None,
) -> Call[ScheduledOffboardingPage]:
    """The request."""
    return Call(
        operation="list_scheduled_offboardings",
        method="GET",
        path="/api/v1/scheduled-offboardings",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "identity_id": identity_id,
            "status": status,
        },
        read=ScheduledOffboardingPage.from_dict,
    )
