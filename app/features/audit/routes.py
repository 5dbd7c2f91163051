"""``/audit-events``: who did what, when, and what was decided."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.db.call_arguments import kept_arguments
from app.features.audit import reading
from app.features.audit.record import record
from app.features.audit.schemas import AuditArgumentsView, AuditEventView, AuditQuery
from app.http.authorization import Caller, Permission, requires
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

CanReadArguments = Annotated[Caller, requires(Permission.ARGUMENTS_READ)]


@router.get("", dependencies=[requires(Permission.AUDIT_READ)], operation_id="list_audit_events")
async def list_audit_events(
    session: Session, runtime: CurrentRuntime, query: Annotated[AuditQuery, Query()]
) -> Page[AuditEventView]:
    """Newest first, calls with their outcomes; with `after`, in the order of commits without skipping any.

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
    """One event, a call with its outcome."""
    return await reading.read(session, event_id)


@router.get("/{event_id}/arguments", operation_id="get_audit_event_arguments")
async def get_audit_event_arguments(
    request: Request, session: Session, runtime: CurrentRuntime, event_id: EventId, caller: CanReadArguments
) -> AuditArgumentsView:
    """The arguments of a call, where its server has them kept. Who looks at them is an event of its own."""
    event = await reading.read(session, event_id)
    kept, arguments = await kept_arguments(session, runtime.sealer, event_id)
    if kept:
        await record(
            session, caller, "arguments.read", "audit_event", event_id,
            request_id=request.state.request_id, server_id=event.server and event.server.id, tool=event.tool,
        )  # fmt: skip
    return AuditArgumentsView(event_id=event_id, kept=kept, arguments=arguments)
