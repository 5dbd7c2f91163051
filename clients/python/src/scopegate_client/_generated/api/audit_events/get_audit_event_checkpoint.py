"""GET /api/v1/audit-events/checkpoints/{tree_size}"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.audit_checkpoint import AuditCheckpoint


def call(
    tree_size: int,
) -> Call[AuditCheckpoint]:
    """The request."""
    return Call(
        operation="get_audit_event_checkpoint",
        method="GET",
        path=path_of(
            "/api/v1/audit-events/checkpoints/{tree_size}",
            tree_size=tree_size,
        ),
        read=AuditCheckpoint.from_dict,
    )
