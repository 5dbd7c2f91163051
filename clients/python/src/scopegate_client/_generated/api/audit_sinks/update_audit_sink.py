"""PATCH /api/v1/audit-sinks/{sink_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.audit_sink import AuditSink


def call(
    sink_id: str,
    fields: JsonObject,
    *,
    if_match: int | str | None = None,
) -> Call[AuditSink]:
    """The request."""
    return Call(
        operation="update_audit_sink",
        method="PATCH",
        path=path_of(
            "/api/v1/audit-sinks/{sink_id}",
            sink_id=sink_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=AuditSink.from_dict,
    )
