"""GET /api/v1/audit-events/{event_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.audit_event import AuditEvent


def call(
    event_id: str,
) -> Call[AuditEvent]:
    """The request."""
    return Call(
        operation="get_audit_event",
        method="GET",
        path=path_of(
            "/api/v1/audit-events/{event_id}",
            event_id=event_id,
        ),
        read=AuditEvent.from_dict,
    )
