"""POST /api/v1/audit-sinks"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.audit_sink import AuditSink


def call(
    fields: JsonObject,
    *,
    idempotency_key: str | None = None,
) -> Call[AuditSink]:
    """The request."""
    return Call(
        operation="create_audit_sink",
        method="POST",
        path="/api/v1/audit-sinks",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(fields),
        read=AuditSink.from_dict,
    )
