"""Tools: the list over all servers, and each with its definition, its risk, who may call it and who did.

What a tool says it is, laid out to be read: its parameters, its schemas as text, and what of it changed.

What is done to a tool from its page: approve it, set its risk, hold it and let it go, remove it.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from markupsafe import Markup
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.adapters.console.forms import AsShown, first_page, next_page, read_query, validated
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.servers import path_of as path_of_server
from app.adapters.console.pages.servers import why_waiting
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.adapters.console.visible import visible
from app.features.access import reach_routes as access
from app.features.access.reach_schemas import MomentQuery
from app.features.audit import routes as audit
from app.features.audit.names import names_of
from app.features.audit.schemas import AuditQuery
from app.features.servers import routes as servers
from app.features.servers.schemas import ServerQuery
from app.features.tools import grant_routes, service
from app.features.tools import routes as tools
from app.features.tools.grant_routes import ToolGrantQuery
from app.features.tools.schemas import ToolApprove, ToolChanges, ToolPatch, ToolQuery, ToolView
from app.http.authorization import Permission, authorize
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import SERVER, TOOL, ToolId, format_id, parse_id
from app.models.servers import Server
from app.models.tools import Tool

# More than is written out at once, while others wait.
_LONG = 2_000
_HINTS = {
    ("readOnlyHint", True): "says that it changes nothing",
    ("readOnlyHint", False): "says that it changes something",
    ("destructiveHint", True): "says that it may destroy something",
    ("destructiveHint", False): "says that it destroys nothing",
    ("idempotentHint", True): "says that calling it twice is as once",
    ("idempotentHint", False): "says that calling it twice is not as once",
    ("openWorldHint", True): "says that it reaches what is outside of the server",
    ("openWorldHint", False): "says that it stays within the server",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument that a tool takes, as its schema has it."""

    name: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One member of a definition that is another than was approved; ``None`` where there is none."""

    kind: str
    pointer: str
    before: Markup | None
    after: Markup | None


async def laid_out(tool: ToolView) -> dict[str, Any]:
    """A definition as its page shows it."""
    return {
        "parameters": parameters_of(tool.input_schema),
        "hints": hints_of(tool.annotations or {}),
        "input_text": await shown(tool.input_schema),
        "output_text": None if tool.output_schema is None else await shown(tool.output_schema),
        "annotations_text": None if tool.annotations is None else await shown(tool.annotations),
    }


async def differences(changes: ToolChanges) -> list[Difference]:
    """What waits to be approved beside what was approved."""
    return [
        Difference(
            one.kind,
            one.pointer,
            None if one.kind == "added" else await shown(one.before),
            None if one.kind == "removed" else await shown(one.after),
        )
        for one in changes.changes
    ]


async def shown(value: Any) -> Markup:
    """JSON as text, every odd character visible; a text alone without its quotes."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return await asyncio.to_thread(visible, text) if len(text) > _LONG else visible(text)


def parameters_of(schema: Mapping[str, Any]) -> list[Parameter]:
    """The arguments that a schema names, as far as it is as schemas of tools are."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, Mapping):
        return []
    needed = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
    return [
        Parameter(name, _type(one), name in needed, _text(one, "description"))
        for name, one in properties.items()
    ]


def hints_of(annotations: Mapping[str, Any]) -> list[str]:
    """What the hints of a server say, in words."""
    return [words for (name, value), words in _HINTS.items() if annotations.get(name) is value]


def _type(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return "anything"
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(str(one) for one in kind)
    if isinstance(schema.get("enum"), list):
        return "one of " + ", ".join(json.dumps(one, ensure_ascii=False) for one in schema["enum"])
    return kind if isinstance(kind, str) else "see the schema"


def _text(schema: Any, member: str) -> str:
    text = schema.get(member) if isinstance(schema, Mapping) else None
    return text if isinstance(text, str) else ""


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


Change = Annotated[Submission, submitted(Permission.TOOLS_WRITE)]
Writer = Annotated[Viewer, signed_in(Permission.TOOLS_WRITE)]


@router.post(f"{LIST}/{{tool_id}}/approve", operation_id="page_approve_tool")
async def approve(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Accept the definition that was shown, and no other that came since."""
    server, row = await _locked(session, submission, tool_id)
    seen = validated(ToolApprove, {"definition_digest": submission.form.text("digest")})
    caller, request_id = submission.viewer.caller, request.state.request_id
    await service.approve(session, server, row, seen.definition_digest, caller, request_id)
    return redirect(f"{path_of(tool_id)}?done=approved")


@router.post(f"{LIST}/{{tool_id}}/risk", operation_id="page_set_risk")
async def set_risk(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Say how dangerous it is; nothing chosen: what its approved definition says."""
    patch = validated(ToolPatch, {"risk": submission.form.text("risk") or None})
    return await _patched(session, submission, tool_id, patch, request, "risk")


@router.post(f"{LIST}/{{tool_id}}/hold", operation_id="page_hold_tool")
async def hold(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Nobody can call it until it is let go."""
    patch = ToolPatch(state="quarantined")
    return await _patched(session, submission, tool_id, patch, request, "held")


@router.post(f"{LIST}/{{tool_id}}/release", operation_id="page_release_tool")
async def release(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Let one go that was held by hand."""
    patch = ToolPatch(state="active")
    return await _patched(session, submission, tool_id, patch, request, "released")


@router.get(f"{LIST}/{{tool_id}}/remove", operation_id="page_confirm_remove_tool")
async def ask_remove(tool_id: ToolId, request: Request, viewer: Writer, session: Session) -> Response:
    """What ends with it."""
    tool = await tools.get_tool(tool_id, viewer.caller, session, Response())
    return page(request, "tools/remove.html", viewer=viewer, tool=tool, base=path_of(tool_id))


@router.post(f"{LIST}/{{tool_id}}/remove/do", operation_id="page_remove_tool")
async def remove(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Take it away, at once for every token."""
    server, row = await _locked(session, submission, tool_id)
    await service.remove(session, server, row, submission.viewer.caller, request.state.request_id)
    return redirect(f"{LIST}?done=removed")


async def _locked(session: Session, submission: Submission, tool_id: UUID) -> tuple[Server, Tool]:
    """The tool as the form showed it, and its server, locked. Raises ``NotFound`` and ``PreconditionFailed``."""
    server, row = await service.require_locked(session, tool_id)
    AsShown.by(submission.form).check(row.revision)
    return server, row


async def _patched(
    session: Session, submission: Submission, tool_id: UUID, patch: ToolPatch, request: Request, done: str
) -> Response:
    server, row = await _locked(session, submission, tool_id)
    await service.update(session, server, row, patch, submission.viewer.caller, request.state.request_id)
    return redirect(f"{path_of(tool_id)}?done={done}")
