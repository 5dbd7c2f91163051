"""GET /api/v1/audit-events"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ...._call import (
    Call,
)
from ...models.audit_decision import AuditDecision
from ...models.audit_event_page import AuditEventPage
from ...models.audit_outcome import AuditOutcome


def call(
    *,
    since: datetime.datetime | None = None,
    until: datetime.datetime | None = None,
    id: str | Sequence[str] | None = None,
    action: str | Sequence[str] | None = None,
    decision: AuditDecision | Sequence[AuditDecision] | None = None,
    reason_code: str | Sequence[str] | None = None,
    outcome: AuditOutcome | Sequence[AuditOutcome] | None = None,
    actor_id: str | Sequence[str] | None = None,
    actor_type: str | Sequence[str] | None = None,
    actor_name: str | Sequence[str] | None = None,
    on_behalf_of: str | Sequence[str] | None = None,
    token_id: str | Sequence[str] | None = None,
    server_id: str | Sequence[str] | None = None,
    server_slug: str | Sequence[str] | None = None,
    tool: str | Sequence[str] | None = None,
    object_id: str | Sequence[str] | None = None,
    policy_id: str | Sequence[str] | None = None,
    observed_policy_id: str | Sequence[str] | None = None,
    client_ip: str | Sequence[str] | None = None,
    client_name: str | Sequence[str] | None = None,
    client_version: str | Sequence[str] | None = None,
    client_user_agent: str | Sequence[str] | None = None,
    arguments_digest: str | Sequence[str] | None = None,
    changes: str | Sequence[str] | None = None,
    duration_ms_min: int | None = None,
    duration_ms_max: int | None = None,
    request_id: str | Sequence[str] | None = None,
    trace_id: str | Sequence[str] | None = None,
    q: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    after: str | None = None,
) -> Call[AuditEventPage]:
    """The request."""
    return Call(
        operation="list_audit_events",
        method="GET",
        path="/api/v1/audit-events",
        query={
            "since": since,
            "until": until,
            "id": id,
            "action": action,
            "decision": decision,
            "reason_code": reason_code,
            "outcome": outcome,
            "actor_id": actor_id,
            "actor_type": actor_type,
            "actor_name": actor_name,
            "on_behalf_of": on_behalf_of,
            "token_id": token_id,
            "server_id": server_id,
            "server_slug": server_slug,
            "tool": tool,
            "object_id": object_id,
            "policy_id": policy_id,
            "observed_policy_id": observed_policy_id,
            "client_ip": client_ip,
            "client_name": client_name,
            "client_version": client_version,
            "client_user_agent": client_user_agent,
            "arguments_digest": arguments_digest,
            "changes": changes,
            "duration_ms_min": duration_ms_min,
            "duration_ms_max": duration_ms_max,
            "request_id": request_id,
            "trace_id": trace_id,
            "q": q,
            "limit": limit,
            "cursor": cursor,
            "after": after,
        },
        read=AuditEventPage.from_dict,
    )
