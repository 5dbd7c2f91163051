"""``/audit-events/export`` and ``/stream``: the trail in the order of commits, all of it or as it grows."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from app.features.audit.export import export, headers_of
from app.features.audit.following import follow
from app.features.audit.leaf_export import export_leaves, exported_leaves
from app.features.audit.reading import check_since, position_of, present
from app.features.audit.schemas import AuditExportQuery, AuditStreamQuery
from app.features.audit.tiles import connection_of
from app.kit.authorization import Caller, Permission, requires
from app.kit.database import Session, TransactionalRoute
from app.kit.live import MEDIA_TYPE
from app.kit.pagination import Cursors
from app.kit.problems import COMMON_PROBLEMS
from app.kit.runtime import CurrentRuntime

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
    caller: CanReadAudit,
    query: Annotated[AuditExportQuery, Query()],
) -> Response:
    """Everything that matches and is on record now, in the order of commits. Outcomes are items of their own.

    However much it is. `leaves` are what was sealed, to be held against checkpoints; 503 `log_damaged` where the trail
    is not what was sealed. In `csv`, a cell that a spreadsheet could take for a formula begins with an apostrophe. An
    answer that is not whole has no proper end: its last chunk is missing, and clients say that the connection broke.
    """
    check_since(query)
    if query.format == "leaves":
        look = export_leaves(await exported_leaves(await connection_of(session), query.first, query.end))
    else:
        look = export(query, await present(session))
    headers = headers_of(query, runtime.clock())
    return runtime.live.download(request, caller, Permission.AUDIT_READ, runtime.authenticate, look, headers)


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
