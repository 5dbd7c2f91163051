"""Tools: the list over all servers, and each with its definition, its risk, who may call it and who did."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.adapters.console.forms import first_page, next_page, read_query
from app.adapters.console.page import PageRoute, page
from app.adapters.console.pages.definitions import differences, laid_out
from app.adapters.console.pages.server_words import path_of as path_of_server
from app.adapters.console.pages.server_words import why_waiting
from app.adapters.console.signed_in import Viewer, signed_in
from app.features.access import reach_routes as access
from app.features.access.reach_schemas import MomentQuery
from app.features.audit import routes as audit
from app.features.audit.names import names_of
from app.features.audit.schemas import AuditQuery
from app.features.servers import routes as servers
from app.features.servers.schemas import ServerQuery
from app.features.tools import grant_routes
from app.features.tools import routes as tools
from app.features.tools.grant_routes import ToolGrantQuery
from app.features.tools.schemas import ToolQuery, ToolView
from app.http.authorization import Permission, authorize
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import SERVER, TOOL, ToolId, format_id, parse_id

LIST = "/console/tools"
router = APIRouter(include_in_schema=False, route_class=PageRoute)

_TABS = {"": "Definition", "callers": "Who may call it", "grants": "Grants and their use", "calls": "Calls"}
_STALE_DAYS = 60
_LATELY = timedelta(days=7)
_DONE = {
    "approved": "The definition is approved: the tool can be called by whoever may.",
    "risk": "The risk is set.",
    "held": "The tool is held: it can be listed and called by nobody.",
    "released": "The tool can be called again by whoever may.",
    "removed": "The tool is removed. If a sync finds it again, it waits to be approved.",
}


@dataclass(frozen=True, slots=True)
class _Sight:
    """Who looks at which tool, and what there is to read it with."""

    request: Request
    session: AsyncSession
    runtime: Runtime
    snapshot: AccessSnapshot
    viewer: Viewer
    tool: ToolView


def path_of(tool_id: UUID) -> str:
    """The address of a tool's page."""
    return f"{LIST}/{format_id(TOOL, tool_id)}"


@router.get(LIST, operation_id="page_list_tools")
async def list_all(
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.TOOLS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    server: Annotated[str, Query(max_length=100)] = "",
    done: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Tools of all servers, those made known last first, by text, server, risk and state."""
    asked = await _servers_asked(session, runtime, viewer, server)
    query = read_query(ToolQuery, request, limit=25, server_id=asked or [])
    found = None if asked == [] else await tools.list_tools(query, viewer.caller, session, runtime)
    items = [] if found is None else found.items
    return page(
        request, "tools/list.html",
        viewer=viewer, tools=items, query=query, server=server, done=_DONE.get(done), why_waiting=why_waiting,
        slugs=await names_of(session, {tool.server_id for tool in items}), path_of_server=path_of_server,
        is_filtered=bool(query.q or server or query.risk or query.state),
        more=next_page(request, None if found is None else found.next_cursor), first=first_page(request),
    )  # fmt: skip


@router.get(f"{LIST}/{{tool_id}}", operation_id="page_get_tool")
async def show_one(
    tool_id: ToolId,
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.TOOLS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
    tab: Annotated[str, Query(max_length=20)] = "",
    done: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """One tool, seen from one side at a time."""
    tool = await tools.get_tool(tool_id, viewer.caller, session, Response())
    names = await names_of(session, [tool.server_id])
    sight = _Sight(request, session, runtime, snapshot, viewer, tool)
    tab = tab if tab in _TABS else ""
    of_tab = {"": _definition, "callers": _callers, "grants": _grants, "calls": _calls}[tab]
    return page(
        request, "tools/detail.html",
        viewer=viewer, tool=tool, base=path_of(tool.id), tab=tab, tabs=_TABS, done=_DONE.get(done),
        slug=names.get(tool.server_id, ""), server_path=path_of_server(tool.server_id), why=why_waiting(tool),
        **await of_tab(sight),
    )  # fmt: skip


async def _servers_asked(
    session: AsyncSession, runtime: Runtime, viewer: Viewer, server: str
) -> list[UUID] | None:
    """The server that a filter names by its id or slug: none that there is, or None when nothing is asked."""
    asked = server.strip().lower()
    if not asked:
        return None
    try:
        return [parse_id(SERVER, asked)]
    except ValueError:
        pass
    authorize(viewer.caller, Permission.SERVERS_READ)
    try:
        query = ServerQuery(slug=[asked], limit=1)
    except ValidationError:
        # What cannot be a slug is none.
        return []
    return [one.id for one in (await servers.list_servers(query, viewer.caller, session, runtime)).items]


async def _definition(sight: _Sight) -> dict[str, Any]:
    shown = {"changes": None, "approved": None, **await laid_out(sight.tool)}
    if sight.tool.approved_digest not in (None, sight.tool.definition_digest):
        changes = await tools.get_tool_changes(sight.tool.id, sight.session)
        shown |= {"changes": await differences(changes), "approved": changes.approved}
    return shown


async def _callers(sight: _Sight) -> dict[str, Any]:
    if not sight.viewer.may("grants.read"):
        return {"callers": None}
    query = read_query(MomentQuery, sight.request, limit=25)
    found = await access.list_tool_access(sight.tool.id, query, sight.session, sight.runtime, sight.snapshot)
    ids = {id for one in found.items for id in (one.identity_id, one.group_id)}
    return {
        "callers": found.items, "stopped": found.stopped, "names": await names_of(sight.session, ids),
        "more": next_page(sight.request, found.next_cursor), "first": first_page(sight.request),
    }  # fmt: skip


async def _grants(sight: _Sight) -> dict[str, Any]:
    if not sight.viewer.may("grants.read"):
        return {"grants": None}
    query = read_query(ToolGrantQuery, sight.request, limit=25)
    found = await grant_routes.list_tool_grants(sight.tool.id, query, sight.session, sight.runtime)
    return {
        "grants": found.items, "used": True, "stale_days": _STALE_DAYS, "unused": query.unused_for_days,
        "since": found.observed_since,
        "names": await names_of(sight.session, [grant.principal.id for grant in found.items]),
        "more": next_page(sight.request, found.next_cursor), "first": first_page(sight.request),
    }  # fmt: skip


async def _calls(sight: _Sight) -> dict[str, Any]:
    if not sight.viewer.may("audit.read"):
        return {"calls": None}
    query = read_query(
        AuditQuery, sight.request,
        limit=25, server_id=[sight.tool.server_id], tool=[sight.tool.name], action=["tool.call"],
        since=sight.runtime.clock() - _LATELY,
    )  # fmt: skip
    found = await audit.list_audit_events(sight.session, sight.runtime, query)
    return {"calls": found.items, "has_more": found.next_cursor is not None}
