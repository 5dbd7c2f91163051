"""DELETE /api/v1/audit-sinks/{sink_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    nothing,
    path_of,
)


def call(
    sink_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[None]:
    """The request."""
    return Call(
        operation="delete_audit_sink",
        method="DELETE",
        path=path_of(
            "/api/v1/audit-sinks/{sink_id}",
            sink_id=sink_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=nothing,
    )
