"""GET /api/v1/audit-events/{event_id}/arguments"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.audit_arguments import AuditArguments


def call(
    event_id: str,
) -> Call[AuditArguments]:
    """The request."""
    return Call(
        operation="get_audit_event_arguments",
        method="GET",
        path=path_of(
            "/api/v1/audit-events/{event_id}/arguments",
            event_id=event_id,
        ),
        read=AuditArguments.from_dict,
    )
