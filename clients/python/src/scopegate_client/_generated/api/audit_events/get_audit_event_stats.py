"""GET /api/v1/audit-events/stats"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
)
from ...models.audit_decision import AuditDecision
from ...models.audit_stats import AuditStats


def call(
    *,
    since: datetime.datetime | None = None,
    until: datetime.datetime | None = None,
    action: str | Sequence[str] | None = None,
    decision: AuditDecision | Sequence[AuditDecision] | None = None,
) -> Call[AuditStats]:
    """The request."""
    return Call(
        operation="get_audit_event_stats",
        method="GET",
        path="/api/v1/audit-events/stats",
        query={
            "since": since,
            "until": until,
            "action": action,
            "decision": decision,
        },
        read=AuditStats.from_dict,
    )
