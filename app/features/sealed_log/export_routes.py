"""``/audit-events/export``: the trail as a file, as events that are shown or as the leaves that were sealed."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from app.features.audit.export import export, headers_of
from app.features.audit.reading import check_since, present
from app.features.audit.schemas import AuditExportQuery
from app.features.sealed_log.leaf_export import export_leaves, exported_leaves
from app.features.sealed_log.tiles import connection_of
from app.kit.authorization import Caller, Permission, requires
from app.kit.database import Session, TransactionalRoute
from app.kit.problems import COMMON_PROBLEMS
from app.kit.runtime import CurrentRuntime

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
