"""Servers: the list, and each with its health, its tools, who reaches it, and what is waiting to be looked at."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from app.adapters.console.forms import first_page, next_page, read_query
from app.adapters.console.page import PageRoute, page
from app.adapters.console.pages.credentials import shown_credentials
from app.adapters.console.pages.server_words import LIST, Sight, health, path_of, why_waiting
from app.adapters.console.signed_in import Viewer, signed_in
from app.features.audit.names import names_of
from app.features.grants import routes as grants
from app.features.grants.schemas import GrantQuery
from app.features.servers import routes as servers
from app.features.servers.schemas import ServerQuery
from app.features.tools import routes as tools
from app.features.tools.schemas import ToolQuery, ToolView
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import ServerId

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_TABS = {"": "Overview", "tools": "Tools", "access": "Who has access", "credentials": "Credentials"}
_PREVIEW = 10
_REFRESH_S = "2"
_DONE = {
    "registered": "The server is registered.",
    "saved": "The changes are saved.",
    "synced": "Its tools were read.",
    "disabled": "The server is disabled: no call reaches it any more.",
    "enabled": "The server is enabled.",
    "instructions": "Clients that reach all of the server are told its instructions from now on.",
    "credential_set": "The credential is stored. It can be replaced, and never read.",
    "credential_removed": "The credential is removed.",
    "deleted": "The server is ended: it is out of reach of every token, and its credentials are destroyed.",
    "approved": "The tool is approved, and can be called by whoever may.",
}


@router.get(LIST, operation_id="page_list_servers")
async def list_all(
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.SERVERS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    done: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Servers, newest first, by text, state, transport and how their last sync went."""
    query = read_query(ServerQuery, request, limit=25)
    found = await servers.list_servers(query, viewer.caller, session, runtime)
    return page(
        request, "servers/list.html",
        viewer=viewer, servers=found.items, query=query, path_of=path_of, health=health,
        is_filtered=bool(query.q or query.status or query.transport or query.sync_state or query.owner_group_id),
        more=next_page(request, found.next_cursor), first=first_page(request), done=_DONE.get(done),
    )  # fmt: skip


@router.get(f"{LIST}/{{server_id}}", operation_id="page_get_server")
async def show_one(
    server_id: ServerId,
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.SERVERS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    tab: Annotated[str, Query(max_length=20)] = "",
    done: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """One server, seen from one side at a time."""
    shown = await server_values(request, session, runtime, viewer, server_id, tab if tab in _TABS else "")
    answer = page(request, "servers/detail.html", viewer=viewer, done=_DONE.get(done), **shown)
    if shown["server"].sync.state == "running" and shown["tab"] == "":
        # The tabs with forms keep what is typed. As a header, since it needs no script.
        answer.headers["Refresh"] = _REFRESH_S
    return answer


async def server_values(
    request: Request, session: Session, runtime: Runtime, viewer: Viewer, server_id: UUID, tab: str
) -> dict[str, Any]:
    """What the page of a server shows on a tab. Raises ``NotFound``."""
    server = await servers.get_server(server_id, viewer.caller, session, Response())
    names = await names_of(session, [server.owner_group_id])
    sight = Sight(request, session, runtime, viewer, server)
    of_tab = {"": _overview, "tools": _tools, "access": _access, "credentials": shown_credentials}[tab]
    return {
        "server": server, "base": path_of(server.id), "tab": tab, "tabs": _TABS, "health": health(server),
        "owner": names.get(server.owner_group_id) if server.owner_group_id else None, "why_waiting": why_waiting,
        "gateway_url": f"{runtime.public_url}/mcp/{server.slug}",
        **await of_tab(sight),
    }  # fmt: skip


async def _overview(sight: Sight) -> dict[str, Any]:
    waiting = await _some_tools(sight, state=["quarantined"])
    active = await _some_tools(sight, state=["active"], sort="name")
    said = None
    if sight.server.instructions == "pending":
        said = await servers.get_server_instructions(sight.server.id, sight.session)
    return {"waiting": waiting, "active": active, "said": said}


async def _some_tools(sight: Sight, **filters: Any) -> list[ToolView]:
    query = ToolQuery(server_id=[sight.server.id], limit=_PREVIEW, **filters)
    return (await tools.list_tools(query, sight.viewer.caller, sight.session, sight.runtime)).items


async def _tools(sight: Sight) -> dict[str, Any]:
    query = read_query(ToolQuery, sight.request, limit=25, server_id=[sight.server.id])
    found = await tools.list_tools(query, sight.viewer.caller, sight.session, sight.runtime)
    return {
        "query": query, "tools": found.items,
        "more": next_page(sight.request, found.next_cursor), "first": first_page(sight.request),
    }  # fmt: skip


async def _access(sight: Sight) -> dict[str, Any]:
    if not sight.viewer.may("grants.read"):
        return {"grants": None}
    query = read_query(
        GrantQuery, sight.request, limit=25, server_id=[sight.server.id], status=["active", "scheduled"]
    )
    found = await grants.list_grants(query, sight.viewer.caller, sight.session, sight.runtime)
    return {
        "grants": found.items,
        "names": await names_of(sight.session, [grant.principal.id for grant in found.items]),
        "more": next_page(sight.request, found.next_cursor), "first": first_page(sight.request),
    }  # fmt: skip
