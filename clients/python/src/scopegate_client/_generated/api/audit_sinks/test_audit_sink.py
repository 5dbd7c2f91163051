"""POST /api/v1/audit-sinks/{sink_id}/test"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
)
from ...models.audit_sink import AuditSink


def call(
    sink_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[AuditSink]:
    """The request."""
    return Call(
        operation="test_audit_sink",
        method="POST",
        path=path_of(
            "/api/v1/audit-sinks/{sink_id}/test",
            sink_id=sink_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=AuditSink.from_dict,
    )
