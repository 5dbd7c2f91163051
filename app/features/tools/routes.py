"""``/api/v1/tools``, and ``POST /api/v1/servers/{id}/sync``, which reads them from a server."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.db.engine import commit
from app.features.servers import service as server_service
from app.features.servers.schemas import IncludeEnded, ServerView
from app.features.tools import queries, service
from app.features.tools.history import approved_content
from app.features.tools.requested_syncs import CurrentSyncs
from app.features.tools.schemas import ToolApprove, ToolChanges, ToolCreate, ToolPatch, ToolQuery, ToolView
from app.http.authorization import Caller, Permission, authorize, requires
from app.http.etags import IfMatch, set_etag
from app.http.idempotency import once
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import TOOL, ServerId, ToolId, format_id
from app.models.servers import Tool

router = APIRouter(route_class=TransactionalRoute)

Reader = Annotated[Caller, requires(Permission.TOOLS_READ)]
Writer = Annotated[Caller, requires(Permission.TOOLS_WRITE)]
_CHANGED = problem_responses(412)
_TOOLS = "/api/v1/tools"


@router.post(
    "/api/v1/servers/{server_id}/sync",
    tags=["servers"],
    operation_id="sync_server",
    responses=problem_responses(409)
    | {
        202: {
            "model": ServerView,
            "description": "The sync continues: `sync.state` is `running` until it ends. Read the server to see.",
            "headers": {"Retry-After": {"$ref": "#/components/headers/Retry-After"}},
        }
    },
)
async def sync_one_server(
    server_id: ServerId,
    caller: Annotated[Caller, requires(Permission.SERVERS_WRITE)],
    session: Session,
    runtime: CurrentRuntime,
    syncs: CurrentSyncs,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> ServerView:
    """Read the server's tools. A failed sync also returns 200, with `sync.state` `error` and the reason, and changes
    nothing else. One that takes longer than 2 seconds returns 202 and continues."""
    row = await server_service.require(session, server_id)
    if_match.check(row.revision)
    # Returns the connection to the pool: the server may take most of a minute.
    await commit(session)
    if not await syncs.sync(runtime, server_id, caller, request.state.request_id):
        response.status_code = 202
        response.headers["Retry-After"] = "1"
    await session.refresh(row)
    set_etag(response, row.revision)
    return (await server_service.show(session, [row]))[0]


@router.get(_TOOLS, tags=["tools"], operation_id="list_tools")
async def list_tools(
    query: Annotated[ToolQuery, Query()], caller: Reader, session: Session, runtime: CurrentRuntime
) -> Page[ToolView]:
    """List tools, newest first."""
    _asks_ended(caller, query.include)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_tools", query.filters())
    rows, next_cursor = await read_page(
        session, queries.select_tools(query), Tool, cursors, query, queries.SORTS
    )
    return Page(items=[ToolView.from_row(row) for row in rows], next_cursor=next_cursor)


@router.post(
    _TOOLS, tags=["tools"], operation_id="create_tool", responses=problem_responses(409), status_code=201
)
@once
async def create_tool(
    body: ToolCreate, caller: Writer, session: Session, request: Request, response: Response
) -> ToolView:
    """Create a tool manually, active immediately. Usually, you sync the server instead."""
    row = await service.create(session, body, caller, request.state.request_id)
    response.headers["Location"] = f"{_TOOLS}/{format_id(TOOL, row.id)}"
    return _shown(row, response)


@router.get(_TOOLS + "/{tool_id}", tags=["tools"], operation_id="get_tool")
async def get_tool(
    tool_id: ToolId, caller: Reader, session: Session, response: Response, include: IncludeEnded = None
) -> ToolView:
    """Read one tool; a removed one with `include=ended`."""
    _asks_ended(caller, include)
    return _shown(await service.require(session, tool_id, ended=include == "ended"), response)


@router.get(
    _TOOLS + "/{tool_id}/changes",
    tags=["tools"],
    dependencies=[requires(Permission.TOOLS_READ)],
    operation_id="get_tool_changes",
)
async def get_tool_changes(tool_id: ToolId, session: Session) -> ToolChanges:
    """Compare the approved definition of a tool with the pending one, by member."""
    row = await service.require(session, tool_id)
    return ToolChanges.of(row, await approved_content(session, row))


@router.patch(
    _TOOLS + "/{tool_id}", tags=["tools"], operation_id="update_tool", responses=problem_responses(409)
)
async def update_tool(
    tool_id: ToolId,
    body: ToolPatch,
    caller: Writer,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> ToolView:
    """Change a tool: override the risk, or quarantine and release it (merge patch)."""
    server, row = await service.require_locked(session, tool_id)
    if_match.check(row.revision)
    await service.update(session, server, row, body, caller, request.state.request_id)
    return _shown(row, response)


@router.delete(
    _TOOLS + "/{tool_id}", tags=["tools"], operation_id="delete_tool", status_code=204, responses=_CHANGED
)
async def delete_tool(
    tool_id: ToolId, caller: Writer, session: Session, request: Request, if_match: IfMatch
) -> None:
    """Remove a tool, immediately for every token. If a sync finds it again, it is quarantined."""
    server, row = await service.require_locked(session, tool_id)
    if_match.check(row.revision)
    await service.remove(session, server, row, caller, request.state.request_id)


@router.post(
    _TOOLS + "/{tool_id}/approve",
    tags=["tools"],
    operation_id="approve_tool",
    responses=problem_responses(409),
)
async def approve_tool(
    tool_id: ToolId,
    body: ToolApprove,
    caller: Writer,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> ToolView:
    """Approve the definition with this digest. The tool becomes active, and its annotations determine the risk."""
    server, row = await service.require_locked(session, tool_id)
    if_match.check(row.revision)
    await service.approve(session, server, row, body.definition_digest, caller, request.state.request_id)
    return _shown(row, response)


def _asks_ended(caller: Caller, include: IncludeEnded) -> None:
    if include == "ended":
        authorize(caller, Permission.AUDIT_READ)


def _shown(row: Tool, response: Response) -> ToolView:
    set_etag(response, row.revision)
    return ToolView.from_row(row)
