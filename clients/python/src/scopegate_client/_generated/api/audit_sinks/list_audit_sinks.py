"""GET /api/v1/audit-sinks"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Literal

from ...._call import (
    Call,
)
from ...models.audit_sink_order import AuditSinkOrder
from ...models.audit_sink_page import AuditSinkPage
from ...models.audit_sink_status import AuditSinkStatus


def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    status: AuditSinkStatus | Sequence[AuditSinkStatus] | None = None,
    failing: bool = False,
    q: str | None = None,
    include: Literal["ended"] | None = None,
    sort: AuditSinkOrder | None = None,
) -> Call[AuditSinkPage]:
    """The request."""
    return Call(
        operation="list_audit_sinks",
        method="GET",
        path="/api/v1/audit-sinks",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "status": status,
            "failing": failing,
            "q": q,
            "include": include,
            "sort": sort,
        },
        read=AuditSinkPage.from_dict,
    )
