"""GET /api/v1/scheduled-offboardings/{scheduled_offboarding_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.scheduled_offboarding import ScheduledOffboarding


def call(
    scheduled_offboarding_id: str,
) -> Call[ScheduledOffboarding]:
    """The request."""
    return Call(
        operation="get_scheduled_offboarding",
        method="GET",
        path=path_of(
            "/api/v1/scheduled-offboardings/{scheduled_offboarding_id}",
            scheduled_offboarding_id=scheduled_offboarding_id,
        ),
        read=ScheduledOffboarding.from_dict,
    )
