"""Tools: the list over all servers, the page of each by tabs, and the actions on a tool."""

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
from app.adapters.console.forms import ShownRevision, first_page, next_page, read_query, validate
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.servers import path_of as path_of_server
from app.adapters.console.pages.servers import why_waiting
from app.adapters.console.viewer import Submission, Viewer, require_submission, require_viewer
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
from app.models.servers import Server, Tool

# Longer texts are escaped in a thread, so as not to block the event loop.
_MAX_INLINE_TEXT = 2_000
_HINTS = {
    ("readOnlyHint", True): "claims to change nothing",
    ("readOnlyHint", False): "claims to change something",
    ("destructiveHint", True): "claims that it may be destructive",
    ("destructiveHint", False): "claims not to be destructive",
    ("idempotentHint", True): "claims that repeating a call has no further effect",
    ("idempotentHint", False): "claims that repeating a call has a further effect",
    ("openWorldHint", True): "claims to reach systems outside of the server",
    ("openWorldHint", False): "claims to stay within the server",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument of a tool, from its input schema."""

    name: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A member of a definition that differs from the approved one; ``None`` where it is missing."""

    kind: str
    pointer: str
    before: Markup | None
    after: Markup | None


async def describe_definition(tool: ToolView) -> dict[str, Any]:
    """The values of a page that shows a definition."""
    return {
        "parameters": list_parameters(tool.input_schema),
        "hints": describe_hints(tool.annotations or {}),
        "input_text": await format_json(tool.input_schema),
        "output_text": None if tool.output_schema is None else await format_json(tool.output_schema),
        "annotations_text": None if tool.annotations is None else await format_json(tool.annotations),
    }


async def differences(changes: ToolChanges) -> list[Difference]:
    """The differences between the current and the approved definition."""
    return [
        Difference(
            one.kind,
            one.pointer,
            None if one.kind == "added" else await format_json(one.before),
            None if one.kind == "removed" else await format_json(one.after),
        )
        for one in changes.changes
    ]


async def format_json(value: Any) -> Markup:
    """JSON as escaped text; a string without its quotes."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return await asyncio.to_thread(visible, text) if len(text) > _MAX_INLINE_TEXT else visible(text)


def list_parameters(schema: Mapping[str, Any]) -> list[Parameter]:
    """The arguments in an input schema, as far as it is well-formed."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, Mapping):
        return []
    needed = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
    return [
        Parameter(name, _type(one), name in needed, _text(one, "description"))
        for name, one in properties.items()
    ]


def describe_hints(annotations: Mapping[str, Any]) -> list[str]:
    """The annotations of a tool in words."""
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
_UNUSED_DAYS = 60
_CALLS_PERIOD = timedelta(days=7)
_DONE = {
    "approved": "The definition was approved. Callers with access can call the tool.",
    "risk": "The risk was set.",
    "held": "The tool was put on hold. It is hidden and calls to it are refused.",
    "released": "The tool was released. Callers with access can call it again.",
    "removed": "The tool was removed. If a sync finds it again, it needs approval.",
}


@dataclass(frozen=True, slots=True)
class _ToolContext:
    """The arguments of the functions that read a tab of a tool's page."""

    request: Request
    session: AsyncSession
    runtime: Runtime
    snapshot: AccessSnapshot
    viewer: Viewer
    tool: ToolView


def path_of(tool_id: UUID) -> str:
    """The path of a tool's page."""
    return f"{LIST}/{format_id(TOOL, tool_id)}"


@router.get(LIST, operation_id="page_list_tools")
async def list_all(
    request: Request,
    viewer: Annotated[Viewer, require_viewer(Permission.TOOLS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    server: Annotated[str, Query(max_length=100)] = "",
    done: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """List tools of all servers, newest first."""
    asked = await _filtered_servers(session, runtime, viewer, server)
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
    viewer: Annotated[Viewer, require_viewer(Permission.TOOLS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
    tab: Annotated[str, Query(max_length=20)] = "",
    done: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Show a tab of a tool's page."""
    tool = await tools.get_tool(tool_id, viewer.caller, session, Response())
    names = await names_of(session, [tool.server_id])
    context = _ToolContext(request, session, runtime, snapshot, viewer, tool)
    tab = tab if tab in _TABS else ""
    read_tab = {"": _definition, "callers": _callers, "grants": _grants, "calls": _calls}[tab]
    return page(
        request, "tools/detail.html",
        viewer=viewer, tool=tool, base=path_of(tool.id), tab=tab, tabs=_TABS, done=_DONE.get(done),
        slug=names.get(tool.server_id, ""), server_path=path_of_server(tool.server_id), why=why_waiting(tool),
        **await read_tab(context),
    )  # fmt: skip


async def _filtered_servers(
    session: AsyncSession, runtime: Runtime, viewer: Viewer, server: str
) -> list[UUID] | None:
    """The server that a filter names by id or slug: empty if there is none, None without a filter."""
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
        # An invalid slug matches no server.
        return []
    return [one.id for one in (await servers.list_servers(query, viewer.caller, session, runtime)).items]


async def _definition(context: _ToolContext) -> dict[str, Any]:
    shown = {"changes": None, "approved": None, **await describe_definition(context.tool)}
    if context.tool.approved_digest not in (None, context.tool.definition_digest):
        changes = await tools.get_tool_changes(context.tool.id, context.session)
        shown |= {"changes": await differences(changes), "approved": changes.approved}
    return shown


async def _callers(context: _ToolContext) -> dict[str, Any]:
    if not context.viewer.may("grants.read"):
        return {"callers": None}
    query = read_query(MomentQuery, context.request, limit=25)
    found = await access.list_tool_access(
        context.tool.id, query, context.session, context.runtime, context.snapshot
    )
    ids = {id for one in found.items for id in (one.identity_id, one.group_id)}
    return {
        "callers": found.items, "stopped": found.stopped, "names": await names_of(context.session, ids),
        "more": next_page(context.request, found.next_cursor), "first": first_page(context.request),
    }  # fmt: skip


async def _grants(context: _ToolContext) -> dict[str, Any]:
    if not context.viewer.may("grants.read"):
        return {"grants": None}
    query = read_query(ToolGrantQuery, context.request, limit=25)
    found = await grant_routes.list_tool_grants(context.tool.id, query, context.session, context.runtime)
    return {
        "grants": found.items, "used": True, "stale_days": _UNUSED_DAYS, "unused": query.unused_for_days,
        "since": found.observed_since,
        "names": await names_of(context.session, [grant.principal.id for grant in found.items]),
        "more": next_page(context.request, found.next_cursor), "first": first_page(context.request),
    }  # fmt: skip


async def _calls(context: _ToolContext) -> dict[str, Any]:
    if not context.viewer.may("audit.read"):
        return {"calls": None}
    query = read_query(
        AuditQuery, context.request,
        limit=25, server_id=[context.tool.server_id], tool=[context.tool.name], action=["tool.call"],
        since=context.runtime.clock() - _CALLS_PERIOD,
    )  # fmt: skip
    found = await audit.list_audit_events(context.session, context.runtime, query)
    return {"calls": found.items, "has_more": found.next_cursor is not None}


Change = Annotated[Submission, require_submission(Permission.TOOLS_WRITE)]
Writer = Annotated[Viewer, require_viewer(Permission.TOOLS_WRITE)]


@router.post(f"{LIST}/{{tool_id}}/approve", operation_id="page_approve_tool")
async def approve(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Approve the definition that was shown, not a later one."""
    server, row = await _locked(session, submission, tool_id)
    seen = validate(ToolApprove, {"definition_digest": submission.form.text("digest")})
    caller, request_id = submission.viewer.caller, request.state.request_id
    await service.approve(session, server, row, seen.definition_digest, caller, request_id)
    return redirect(f"{path_of(tool_id)}?done=approved")


@router.post(f"{LIST}/{{tool_id}}/risk", operation_id="page_set_risk")
async def set_risk(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Set the risk, or reset it to that of the approved definition."""
    patch = validate(ToolPatch, {"risk": submission.form.text("risk") or None})
    return await _patch(session, submission, tool_id, patch, request, "risk")


@router.post(f"{LIST}/{{tool_id}}/hold", operation_id="page_hold_tool")
async def hold(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Put a tool on hold, so that it cannot be called."""
    patch = ToolPatch(state="quarantined")
    return await _patch(session, submission, tool_id, patch, request, "held")


@router.post(f"{LIST}/{{tool_id}}/release", operation_id="page_release_tool")
async def release(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Release a tool from a manual hold."""
    patch = ToolPatch(state="active")
    return await _patch(session, submission, tool_id, patch, request, "released")


@router.get(f"{LIST}/{{tool_id}}/remove", operation_id="page_confirm_remove_tool")
async def ask_remove(tool_id: ToolId, request: Request, viewer: Writer, session: Session) -> Response:
    """Show what ends with a tool."""
    tool = await tools.get_tool(tool_id, viewer.caller, session, Response())
    return page(request, "tools/remove.html", viewer=viewer, tool=tool, base=path_of(tool_id))


@router.post(f"{LIST}/{{tool_id}}/remove/do", operation_id="page_remove_tool")
async def remove(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Remove a tool, immediately for every token."""
    server, row = await _locked(session, submission, tool_id)
    await service.remove(session, server, row, submission.viewer.caller, request.state.request_id)
    return redirect(f"{LIST}?done=removed")


async def _locked(session: Session, submission: Submission, tool_id: UUID) -> tuple[Server, Tool]:
    """Lock the tool, at the revision that the form showed, and its server. Raises ``NotFound`` and
    ``PreconditionFailed``."""
    server, row = await service.require_locked(session, tool_id)
    ShownRevision.from_form(submission.form).check(row.revision)
    return server, row


async def _patch(
    session: Session, submission: Submission, tool_id: UUID, patch: ToolPatch, request: Request, done: str
) -> Response:
    server, row = await _locked(session, submission, tool_id)
    await service.update(session, server, row, patch, submission.viewer.caller, request.state.request_id)
    return redirect(f"{path_of(tool_id)}?done={done}")
