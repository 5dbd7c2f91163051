"""GET /api/v1/audit-events/checkpoints/{tree_size}/range"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.audit_range_proof import AuditRangeProof


def call(
    tree_size: int,
    *,
    from_: int,
    to: int,
) -> Call[AuditRangeProof]:
    """The request."""
    return Call(
        operation="get_audit_event_range",
        method="GET",
        path=path_of(
            "/api/v1/audit-events/checkpoints/{tree_size}/range",
            tree_size=tree_size,
        ),
        query={
            "from": from_,
            "to": to,
        },
        read=AuditRangeProof.from_dict,
    )
