"""``/audit-events/stream``: the trail as it grows, in the order of commits."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from app.features.audit.following import follow
from app.features.audit.reading import check_since, position_of, present
from app.features.audit.schemas import AuditStreamQuery
from app.http.authorization import Caller, Permission, requires
from app.http.live import MEDIA_TYPE
from app.http.pagination import Cursors
from app.http.problems import COMMON_PROBLEMS
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute

router = APIRouter(
    prefix="/api/v1/audit-events",
    tags=["audit-events"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS,
)

CanReadAudit = Annotated[Caller, requires(Permission.AUDIT_READ)]
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID", max_length=2000, description="The `id` of the last event that was received."
    ),
]
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}


@router.get(
    "/stream",
    operation_id="stream_audit_events",
    response_class=StreamingResponse,
    responses={200: {"content": {MEDIA_TYPE: _TEXT}}},
)
async def stream_audit_events(
    request: Request,
    session: Session,
    runtime: CurrentRuntime,
    caller: CanReadAudit,
    query: Annotated[AuditStreamQuery, Query()],
    last_event_id: LastEventId = None,
) -> Response:
    """Events as they are recorded, as server-sent events, in the order of commits and without skipping any.

    `data` is an audit event; `id` is where to go on, with `Last-Event-ID` or `after`. Outcomes are items of their own.
    An event `ended` says the `code` of why it ended: `unauthenticated` or `forbidden` when the caller's right did.
    """
    check_since(query)
    cursors = Cursors(runtime.peppers.derive("cursors"), "poll_audit_events", query.filters())
    after = position_of(cursors, query.after if last_event_id is None else last_event_id)
    look = follow(query, cursors, await present(session) if after is None else after)
    return runtime.live.stream(request, caller, Permission.AUDIT_READ, runtime.authenticate, look)
