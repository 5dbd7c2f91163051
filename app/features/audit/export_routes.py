"""``/audit-events/export``: the trail as a file, as events that are shown or as the leaves that were sealed."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from app.features.audit.export import export, headers_of
from app.features.audit.reading import check_since, present
from app.features.audit.schemas import AuditExportQuery
from app.features.audit.sealing.leaf_export import export_leaves, exported_leaves
from app.features.audit.sealing.tiles import connection_of
from app.http.authorization import Caller, Permission, requires
from app.http.problems import COMMON_PROBLEMS
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute

router = APIRouter(
    prefix="/api/v1/audit-events",
    tags=["audit-events"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS,
)

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
    """Everything that matches and is on record now, in the order of commits. Outcomes are items of their own.

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
