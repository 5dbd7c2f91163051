"""GET /api/v1/audit-sinks/{sink_id}"""

from __future__ import annotations

from typing import Literal

from ...._call import (
    Call,
    path_of,
)
from ...models.audit_sink import AuditSink


def call(
    sink_id: str,
    *,
    include: Literal["ended"] | None = None,
) -> Call[AuditSink]:
    """The request."""
    return Call(
        operation="get_audit_sink",
        method="GET",
        path=path_of(
            "/api/v1/audit-sinks/{sink_id}",
            sink_id=sink_id,
        ),
        query={
            "include": include,
        },
        read=AuditSink.from_dict,
    )
