"""GET /api/v1/audit-events/{event_id}/proof"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.audit_event_proof import AuditEventProof


def call(
    event_id: str,
) -> Call[AuditEventProof]:
    """The request."""
    return Call(
        operation="get_audit_event_proof",
        method="GET",
        path=path_of(
            "/api/v1/audit-events/{event_id}/proof",
            event_id=event_id,
        ),
        read=AuditEventProof.from_dict,
    )
