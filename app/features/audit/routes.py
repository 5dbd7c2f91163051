"""``/audit-events``: who did what, when, and what was decided.

``/audit-events/stats``: how many events there were, by the hour.

``/audit-events/export``: the trail as a file, as events that are shown or as the leaves that were sealed.

``/audit-events/stream``: the trail as it grows, in the order of commits.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from app.db.call_arguments import kept_arguments
from app.features.audit import reading
from app.features.audit.export import export, headers_of
from app.features.audit.reading import check_since, follow, position_of, present
from app.features.audit.record import record
from app.features.audit.schemas import (
    AuditArgumentsView,
    AuditEventView,
    AuditExportQuery,
    AuditQuery,
    AuditStatsQuery,
    AuditStatsView,
    AuditStreamQuery,
)
from app.features.audit.sealing.leaves import connection_of
from app.features.audit.sealing.proofs import export_leaves, exported_leaves
from app.features.audit.stats import count_hours
from app.http.authorization import Caller, Permission, requires
from app.http.live import MEDIA_TYPE
from app.http.pagination import Cursors, Page
from app.http.problems import COMMON_PROBLEMS
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import EventId

router = APIRouter(
    prefix="/api/v1/audit-events",
    tags=["audit-events"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS,
)


@router.get("/stats", dependencies=[requires(Permission.AUDIT_READ)], operation_id="get_audit_event_stats")
async def get_audit_stats(
    session: Session, runtime: CurrentRuntime, query: Annotated[AuditStatsQuery, Query()]
) -> AuditStatsView:
    """Count audit events by hour. Cheap however long the trail is, and of the moment."""
    return await count_hours(session, query, runtime.clock())


_TEXT: dict[str, Any] = {"schema": {"type": "string"}}


@router.get(
    "/export",
    operation_id="export_audit_events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/x-ndjson": _TEXT, "text/csv": _TEXT}},
    },
)
async def export_audit_events(
    request: Request,
    session: Session,
    runtime: CurrentRuntime,
    caller: Annotated[Caller, requires(Permission.AUDIT_READ)],
    query: Annotated[AuditExportQuery, Query()],
) -> Response:
    """Export all matching audit events in commit order. Outcomes are separate items.

    There is no limit on the size. `leaves` are the sealed rows, to compare with checkpoints; the answer is 503
    `audit_log_corrupted` when the log differs from what was sealed. In `csv`, a cell that a spreadsheet could take for
    a formula begins with an apostrophe. An incomplete export has no proper end: its last chunk is missing, and clients
    report a broken connection.
    """
    check_since(query)
    if query.format == "leaves":
        look = export_leaves(await exported_leaves(await connection_of(session), query.first, query.end))
    else:
        look = export(query, await present(session))
    headers = headers_of(query, runtime.clock())
    return runtime.live.download(request, caller, Permission.AUDIT_READ, runtime.authenticate, look, headers)


CanReadAudit = Annotated[Caller, requires(Permission.AUDIT_READ)]
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID", max_length=2000, description="The `id` of the last event that was received."
    ),
]


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
    """Stream audit events as server-sent events, in commit order without gaps.

    `data` is an audit event; `id` is where to go on, with `Last-Event-ID` or `after`. Outcomes are items of their own.
    An event `ended` says the `code` of why it ended: `unauthenticated` or `forbidden` when the caller's right did.
    """
    check_since(query)
    cursors = Cursors(runtime.peppers.derive("cursors"), "poll_audit_events", query.filters())
    after = position_of(cursors, query.after if last_event_id is None else last_event_id)
    look = follow(query, cursors, await present(session) if after is None else after)
    return runtime.live.stream(request, caller, Permission.AUDIT_READ, runtime.authenticate, look)


CanReadArguments = Annotated[Caller, requires(Permission.ARGUMENTS_READ)]


@router.get("", dependencies=[requires(Permission.AUDIT_READ)], operation_id="list_audit_events")
async def list_audit_events(
    session: Session, runtime: CurrentRuntime, query: Annotated[AuditQuery, Query()]
) -> Page[AuditEventView]:
    """List audit events, newest first; with `after`, in commit order without gaps.

    What no index serves is looked for about a second a page: where little matches, a page may hold fewer than `limit`,
    or none, and still have a `next_cursor`.
    """
    key = runtime.peppers.derive("cursors")
    if query.after is not None:
        cursors = Cursors(key, "poll_audit_events", query.filters())
        items, reached = await reading.poll(session, query, cursors)
        return Page(items=items, next_cursor=reached)
    cursors = Cursors(key, "list_audit_events", query.filters())
    items, following = await reading.page(session, query, cursors, runtime.clock())
    return Page(items=items, next_cursor=following)


@router.get("/{event_id}", dependencies=[requires(Permission.AUDIT_READ)], operation_id="get_audit_event")
async def get_audit_event(session: Session, event_id: EventId) -> AuditEventView:
    """Read one audit event, a call with its outcome."""
    return await reading.read(session, event_id)


@router.get("/{event_id}/arguments", operation_id="get_audit_event_arguments")
async def get_audit_event_arguments(
    request: Request, session: Session, runtime: CurrentRuntime, event_id: EventId, caller: CanReadArguments
) -> AuditArgumentsView:
    """Read the recorded arguments of a call. Who looks at them is an event of its own."""
    event = await reading.read(session, event_id)
    kept, arguments = await kept_arguments(session, runtime.sealer, event_id)
    if kept:
        await record(
            session, caller, "arguments.read", "audit_event", event_id,
            request_id=request.state.request_id, server_id=event.server and event.server.id, tool=event.tool,
        )  # fmt: skip
    return AuditArgumentsView(event_id=event_id, kept=kept, arguments=arguments)
