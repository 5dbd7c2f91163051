"""``/api/v1/tools``: tools, and who can call them by which grants."""

from typing import Annotated

from fastapi import Query

from app.access.snapshot import CurrentSnapshot
from app.db.change import Change
from app.features.access.reach import MomentQuery, ToolAccessView, list_callers
from app.features.servers.schemas import IncludeEnded
from app.features.tools import grants, service
from app.features.tools.grants import ToolGrantQuery, ToolGrantsView
from app.features.tools.queries import approved_content
from app.features.tools.schemas import ToolApprove, ToolChanges, ToolCreate, ToolPatch, ToolQuery, ToolView
from app.http.authorization import Caller, Permission, authorize, changes, requires
from app.http.etags import IfMatch
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router
from app.lib.ids import ToolId

router = api_router("tools")

CanRead = Annotated[Caller, requires(Permission.TOOLS_READ)]
CanWrite = Annotated[Change, changes(Permission.TOOLS_WRITE)]


@router.get("")
async def list_tools(
    query: Annotated[ToolQuery, Query()], caller: CanRead, session: Session, runtime: CurrentRuntime
) -> Page[ToolView]:
    """List tools, newest first."""
    return await service.list_tools(session, caller, query, runtime)


@router.post("", status_code=201)
async def create_tool(body: ToolCreate, change: CanWrite) -> ToolView:
    """Create a tool manually, active immediately. Usually, you sync the server instead."""
    tool = await service.create_tool(change, body)
    return ToolView.model_validate(tool)


@router.get("/{tool_id}")
async def get_tool(
    tool_id: ToolId, caller: CanRead, session: Session, include: IncludeEnded = None
) -> ToolView:
    """Read one tool; a removed one with `include=ended`."""
    if include is not None:
        authorize(caller, Permission.AUDIT_READ)
    return ToolView.model_validate(await service.get_tool(session, tool_id, ended=include is not None))


@router.get("/{tool_id}/changes", dependencies=[requires(Permission.TOOLS_READ)])
async def get_tool_changes(tool_id: ToolId, session: Session) -> ToolChanges:
    """Compare the approved definition of a tool with the pending one, by member."""
    tool = await service.get_tool(session, tool_id)
    return ToolChanges.of(tool, await approved_content(session, tool))


@router.patch("/{tool_id}", responses=problem_responses(409))
async def update_tool(tool_id: ToolId, body: ToolPatch, change: CanWrite, if_match: IfMatch) -> ToolView:
    """Change a tool: override the risk, or quarantine and release it (merge patch)."""
    return ToolView.model_validate(await service.update_tool(change, tool_id, body, if_match))


@router.delete("/{tool_id}", status_code=204)
async def delete_tool(tool_id: ToolId, change: CanWrite, if_match: IfMatch) -> None:
    """Remove a tool, immediately for every token. If a sync finds it again, it is quarantined."""
    await service.remove_tool(change, tool_id, if_match)


@router.post("/{tool_id}/approve", responses=problem_responses(409))
async def approve_tool(tool_id: ToolId, body: ToolApprove, change: CanWrite, if_match: IfMatch) -> ToolView:
    """Approve the definition with this digest. The tool becomes active, and its annotations determine the risk."""
    return ToolView.model_validate(
        await service.approve_tool(change, tool_id, body.definition_digest, if_match)
    )


@router.get(
    "/{tool_id}/grants",
    dependencies=[requires(Permission.GRANTS_READ)],
    summary="List the grants that reach a tool",
)
async def list_tool_grants(
    tool_id: ToolId, query: Annotated[ToolGrantQuery, Query()], session: Session, runtime: CurrentRuntime
) -> ToolGrantsView:
    """The active grants that include the tool by its server's current labels and its own risk, newest first, with the
    last use by each. Policies can still deny calls: `/tools/{id}/access` evaluates them."""
    return await grants.list_tool_grants(session, tool_id, query, runtime)


@router.get(
    "/{tool_id}/access",
    dependencies=[requires(Permission.GRANTS_READ)],
    summary="List who can call a tool, and why",
)
async def list_tool_access(
    tool_id: ToolId,
    query: Annotated[MomentQuery, Query()],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> ToolAccessView:
    """The identities that can call the tool by a grant of their own or of a group, decided as calls are.

    Newest first. If few of many identities can call it, a page may hold fewer than `limit`, or none, and still have a
    `next_cursor`.
    """
    tool = await service.get_tool(session, tool_id, ended=query.at is not None)
    return await list_callers(session, snapshot, tool, query, runtime)
