"""GET /api/v1/audit-events/keys"""

from __future__ import annotations

from ...._call import (
    Call,
)
from ...models.audit_log_keys import AuditLogKeys


def call() -> Call[AuditLogKeys]:
    """The request."""
    return Call(
        operation="list_audit_event_keys",
        method="GET",
        path="/api/v1/audit-events/keys",
        read=AuditLogKeys.from_dict,
    )
