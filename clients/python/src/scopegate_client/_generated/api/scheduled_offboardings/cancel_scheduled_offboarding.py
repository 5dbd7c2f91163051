"""DELETE /api/v1/scheduled-offboardings/{scheduled_offboarding_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
)
from ...models.scheduled_offboarding import ScheduledOffboarding


def call(
    scheduled_offboarding_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[ScheduledOffboarding]:
    """The request."""
    return Call(
        operation="cancel_scheduled_offboarding",
        method="DELETE",
        path=path_of(
            "/api/v1/scheduled-offboardings/{scheduled_offboarding_id}",
            scheduled_offboarding_id=scheduled_offboarding_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=ScheduledOffboarding.from_dict,
    )
