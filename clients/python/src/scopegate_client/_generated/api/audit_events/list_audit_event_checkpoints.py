"""GET /api/v1/audit-events/checkpoints"""

from __future__ import annotations

from ...._call import (
    Call,
)
from ...models.audit_checkpoint_page import AuditCheckpointPage


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[AuditCheckpointPage]:
    """The request."""
    return Call(
        operation="list_audit_event_checkpoints",
        method="GET",
        path="/api/v1/audit-events/checkpoints",
        query={
            "limit": limit,
            "cursor": cursor,
        },
        read=AuditCheckpointPage.from_dict,
    )
