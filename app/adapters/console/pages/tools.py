"""Tools: the list over all servers, the page of each by tabs, and the actions on a tool."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from markupsafe import Markup
from pydantic import ValidationError

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.display import link, visible_in_thread, why_waiting
from app.adapters.console.forms import validate
from app.adapters.console.page import PageRoute, redirect
from app.features.access.reach import MomentQuery, list_callers
from app.features.audit import reading
from app.features.audit.schemas import AuditQuery
from app.features.servers import service as servers
from app.features.servers.schemas import ServerQuery
from app.features.tools import service
from app.features.tools.grants import ToolGrantQuery, list_tool_grants
from app.features.tools.queries import approved_content
from app.features.tools.schemas import ToolApprove, ToolChanges, ToolPatch, ToolQuery, ToolView
from app.http.authorization import Permission, authorize
from app.http.pagination import Page
from app.lib.ids import SERVER, ToolId, parse_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)
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
LIST = "/console/tools"
_TABS = {"": "Definition", "callers": "Who may call it", "grants": "Grants and their use", "calls": "Calls"}
_UNUSED_DAYS = 60
_CALLS_PERIOD = timedelta(days=7)
Reader = Annotated[PageContext, may_open(Permission.TOOLS_READ)]
Writer = Annotated[PageContext, may_open(Permission.TOOLS_WRITE)]
Written = Annotated[Submission, may_submit(Permission.TOOLS_WRITE)]
_DONE = {
    "approved": "The definition was approved. Callers with access can call the tool.",
    "risk": "The risk was set.",
    "held": "The tool was put on hold. It is hidden and calls to it are refused.",
    "released": "The tool was released. Callers with access can call it again.",
    "removed": "The tool was removed. If a sync finds it again, it needs approval.",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument of a tool, from its input schema."""

    name: str
    type: str
    required: bool
    description: str


async def format_json(value: Any) -> Markup:
    """JSON as escaped text; a string without its quotes."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return await visible_in_thread(text)


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


@router.get(LIST, operation_id="page_list_tools")
async def list_all(context: Reader, server: Annotated[str, Query(max_length=100)] = "") -> Response:
    """List tools of all servers, newest first."""
    asked = await _filtered_servers(context, server)
    query = context.query(ToolQuery, limit=25, server_id=asked or [])
    found = Page[ToolView](items=[], next_cursor=None)
    if asked != []:
        found = await service.list_tools(context.session, context.caller, query, context.runtime)
    names = await context.names(*(tool.server_id for tool in found.items))
    return await context.page("tools/list.html", found, names=names, query=query, server=server, done=_DONE)


@router.get(f"{LIST}/{{tool_id}}", operation_id="page_get_tool")
async def show_one(context: Reader, tool_id: ToolId) -> Response:
    """Show a tab of a tool's page."""
    tool = ToolView.model_validate(await service.get_tool(context.session, tool_id))
    tab = context.param("tab") if context.param("tab") in _TABS else ""
    read_tab = {"": _definition, "callers": _callers, "grants": _grants, "calls": _calls}[tab]
    return await context.page(
        "tools/detail.html",
        tool=tool, tab=tab, tabs=_TABS, done=_DONE, slug=await context.name(tool.server_id, ""),
        server_path=link("server", tool.server_id), why=why_waiting(tool), **await read_tab(context, tool),
    )  # fmt: skip


async def _filtered_servers(context: PageContext, server: str) -> list[UUID] | None:
    """The server that a filter names by id or slug: empty if there is none, None without a filter."""
    asked = server.strip().lower()
    if not asked:
        return None
    try:
        return [parse_id(SERVER, asked)]
    except ValueError:
        pass
    authorize(context.caller, Permission.SERVERS_READ)
    try:
        query = ServerQuery(slug=[asked], limit=1)
    except ValidationError:
        # An invalid slug matches no server.
        return []
    found = await servers.list_servers(context.session, context.caller, query, context.runtime)
    return [one.id for one in found.items]


async def _definition(context: PageContext, tool: ToolView) -> dict[str, Any]:
    output, annotations = tool.output_schema, tool.annotations
    shown: dict[str, Any] = {
        "parameters": list_parameters(tool.input_schema),
        "hints": [words for (name, value), words in _HINTS.items() if (annotations or {}).get(name) is value],
        "input_text": await format_json(tool.input_schema),
        "output_text": None if output is None else await format_json(output),
        "annotations_text": None if annotations is None else await format_json(annotations),
        "changes": None,
        "approved": None,
        "names": {},
    }
    if tool.approved_digest not in (None, tool.definition_digest):
        row = await service.get_tool(context.session, tool.id)
        found = ToolChanges.of(row, await approved_content(context.session, row))
        shown |= {"approved": found.approved, "changes": []}
        for one in found.changes:
            before = None if one.kind == "added" else await format_json(one.before)
            after = None if one.kind == "removed" else await format_json(one.after)
            shown["changes"].append(
                {"kind": one.kind, "pointer": one.pointer, "before": before, "after": after}
            )
    return shown


async def _callers(context: PageContext, tool: ToolView) -> dict[str, Any]:
    if not context.may("grants.read"):
        return {"callers": None}
    query = context.query(MomentQuery, limit=25)
    row = await service.get_tool(context.session, tool.id)
    found = await list_callers(context.session, context.snapshot, row, query, context.runtime)
    ids = {id for one in found.items for id in (one.identity_id, one.group_id)}
    shown = {"callers": found.items, "stopped": found.stopped, "names": await context.names(*ids)}
    return shown | context.pager(found.next_cursor)


async def _grants(context: PageContext, tool: ToolView) -> dict[str, Any]:
    if not context.may("grants.read"):
        return {"grants": None}
    query = context.query(ToolGrantQuery, limit=25)
    found = await list_tool_grants(context.session, tool.id, query, context.runtime)
    return {
        "grants": found.items, "used": True, "stale_days": _UNUSED_DAYS, "unused": query.unused_for_days,
        "since": found.observed_since, "names": await context.names(*(one.principal.id for one in found.items)),
        **context.pager(found.next_cursor),
    }  # fmt: skip


async def _calls(context: PageContext, tool: ToolView) -> dict[str, Any]:
    if not context.may("audit.read"):
        return {"calls": None}
    query = context.query(
        AuditQuery,
        limit=25, server_id=[tool.server_id], tool=[tool.name], action=["tool.call"],
        since=context.now - _CALLS_PERIOD,
    )  # fmt: skip
    found = await reading.list_events(context.session, context.runtime, query)
    return {"calls": found.items, "names": {}, "has_more": found.next_cursor is not None}


@router.post(f"{LIST}/{{tool_id}}/approve", operation_id="page_approve_tool")
async def approve(sent: Written, tool_id: ToolId) -> Response:
    """Approve the definition that was shown, not a later one."""
    seen = validate(ToolApprove, {"definition_digest": sent.form.text("digest")})
    await service.approve_tool(sent.change, tool_id, seen.definition_digest, sent.shown)
    return redirect(f"{link('tool', tool_id)}?done=approved")


@router.post(f"{LIST}/{{tool_id}}/risk", operation_id="page_set_risk")
async def set_risk(sent: Written, tool_id: ToolId) -> Response:
    """Set the risk, or reset it to that of the approved definition."""
    patch = validate(ToolPatch, {"risk": sent.form.text("risk") or None})
    return await _patch(sent, tool_id, patch, "risk")


@router.post(f"{LIST}/{{tool_id}}/hold", operation_id="page_hold_tool")
async def hold(sent: Written, tool_id: ToolId) -> Response:
    """Put a tool on hold, so that it cannot be called."""
    return await _patch(sent, tool_id, ToolPatch(state="quarantined"), "held")


@router.post(f"{LIST}/{{tool_id}}/release", operation_id="page_release_tool")
async def release(sent: Written, tool_id: ToolId) -> Response:
    """Release a tool from a manual hold."""
    return await _patch(sent, tool_id, ToolPatch(state="active"), "released")


@router.get(f"{LIST}/{{tool_id}}/remove", operation_id="page_confirm_remove_tool")
async def ask_remove(context: Writer, tool_id: ToolId) -> Response:
    """Show what ends with a tool."""
    tool = ToolView.model_validate(await service.get_tool(context.session, tool_id))
    return await context.page("tools/remove.html", tool=tool)


@router.post(f"{LIST}/{{tool_id}}/remove/do", operation_id="page_remove_tool")
async def remove(sent: Written, tool_id: ToolId) -> Response:
    """Remove a tool, immediately for every token."""
    await service.remove_tool(sent.change, tool_id, sent.shown)
    return redirect(f"{LIST}?done=removed")


async def _patch(sent: Submission, tool_id: UUID, patch: ToolPatch, done: str) -> Response:
    await service.update_tool(sent.change, tool_id, patch, sent.shown)
    return redirect(f"{link('tool', tool_id)}?done={done}")
