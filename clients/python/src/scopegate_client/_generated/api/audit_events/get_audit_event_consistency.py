"""GET /api/v1/audit-events/checkpoints/{tree_size}/consistency"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.audit_consistency_proof import AuditConsistencyProof


def call(
    tree_size: int,
    *,
    from_: int,
) -> Call[AuditConsistencyProof]:
    """The request."""
    return Call(
        operation="get_audit_event_consistency",
        method="GET",
        path=path_of(
            "/api/v1/audit-events/checkpoints/{tree_size}/consistency",
            tree_size=tree_size,
        ),
        query={
            "from": from_,
        },
        read=AuditConsistencyProof.from_dict,
    )
