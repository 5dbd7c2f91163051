"""Read tools, and change them manually: create, quarantine, approve, override the risk, remove.

Every change locks the server's row first, which serializes it with syncs of the same server.
"""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.db import rows
from app.db.change import Change, Subject
from app.db.rows import Lock
from app.domain.errors import Conflict, FieldError, Invalid, NotFound
from app.domain.objects import ToolState
from app.features.tools import definitions, queries
from app.features.tools.definitions import Definition, InvalidTool, read_definition
from app.features.tools.schemas import ToolCreate, ToolDefinition, ToolPatch, ToolQuery, ToolView
from app.http.authorization import Caller, Permission, authorize
from app.http.etags import Precondition
from app.http.pagination import Cursors, Page, read_page
from app.http.runtime import Runtime
from app.models.servers import Server, Tool

TOOL = Subject(
    "tool",
    audited=("risk", "risk_overridden", "state", "definition_digest", "approved_digest"),
    history="tool_definition",
    kept=("server_id", "name", "risk", "state", "approved_digest", *ToolDefinition.model_fields),
)
_FIELDS = {"inputSchema": "input_schema", "outputSchema": "output_schema"}
"""The fields of a tool, by the members of its definition with another name."""


async def list_tools(
    session: AsyncSession, caller: Caller, query: ToolQuery, runtime: Runtime
) -> Page[ToolView]:
    """Read a page of tools. Raises ``Forbidden`` when removed ones are requested."""
    if query.include is not None:
        authorize(caller, Permission.AUDIT_READ)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_tools", query.filters())
    statement = queries.select_tools(query)
    tools, next_cursor = await read_page(session, statement, Tool, cursors, query, queries.SORTS)
    return Page(items=[ToolView.model_validate(tool) for tool in tools], next_cursor=next_cursor)


async def get_tool(session: AsyncSession, id: UUID, *, ended: bool = False) -> Tool:
    """Read a tool; with ``ended``, also a removed one, and one of an ended server. Raises ``NotFound``."""
    return rows.existing(await queries.find(session, id, ended=ended), "tool")


async def create_tool(change: Change, body: ToolCreate) -> Tool:
    """Create a tool manually. Raises ``Invalid``, and ``Conflict`` (``tool_exists``)."""
    session, definition = change.session, _definition(body)
    server = await _lock_server(session, body.server_id)
    if server is None:
        raise Invalid.field("/server_id", "unknown_server", "There is no such server.")
    tool = (await queries.tools_of_server(session, server.id)).get(body.name)
    if tool is not None and tool.state != ToolState.REMOVED:
        raise Conflict(
            "The server already has a tool of this name.",
            code="tool_exists",
            errors=[FieldError("/name", "tool_exists", "choose another name, or change that tool")],
        )
    if tool is None:
        tool = definitions.new_tool(server.id, definition, approved=True)
        session.add(tool)
    else:
        # A returning tool keeps its id: one id for each name of a server.
        definitions.adopt(tool, definition)
        tool.risk_overridden = False
        definitions.approve(tool)
        tool.revision += 1
    if body.risk is not None:
        tool.risk, tool.risk_overridden = body.risk, True
    rows.touch(server)
    await _flush(session, tool)
    change.record(
        "tool.create", TOOL, TOOL.blank(tool), tool,
        widens=[server.id], server_id=server.id, tool=tool.name,
    )  # fmt: skip
    return tool


async def update_tool(change: Change, id: UUID, body: ToolPatch, if_match: Precondition) -> Tool:
    """Override the risk, or quarantine or release the tool. Raises ``NotFound``, ``PreconditionFailed``, and
    ``Conflict`` (``definition_not_approved``)."""
    _, tool = await _lock_tool(change.session, id, if_match)
    before, was_held = TOOL.values(tool), tool.held
    risk, state = tool.risk, tool.state
    fields = body.given()
    if "risk" in fields:
        tool.risk_overridden = body.risk is not None
        tool.risk = body.risk or tool.assessed_risk
    if "state" in fields:
        if body.state == "active" and tool.approved_digest != tool.definition_digest:
            raise Conflict(
                "The tool's definition is not the approved one: review it and POST its digest to "
                "/api/v1/tools/{id}/approve.",
                code="definition_not_approved",
            )
        tool.state, tool.held = body.state, body.state == "quarantined"
    if TOOL.values(tool) == before and was_held == tool.held:
        return tool
    tool.revision += 1
    await _flush(change.session, tool)
    change.record("tool.update", TOOL, before, tool, server_id=tool.server_id, tool=tool.name)
    # A grant by risk may not reach the tool any more, and no grant reaches a quarantined one.
    narrows = state == ToolState.ACTIVE and (tool.state, tool.risk) != (state, risk)
    change.move(widens=[tool.server_id], narrows=[tool.server_id] if narrows else [])
    return tool


async def approve_tool(change: Change, id: UUID, seen_digest: str, if_match: Precondition) -> Tool:
    """Approve the latest definition, with the digest that was reviewed. Raises ``NotFound``, ``PreconditionFailed``,
    and ``Conflict`` (``definition_changed``)."""
    _, tool = await _lock_tool(change.session, id, if_match)
    if tool.definition_digest.hex() != seen_digest:
        raise Conflict(
            "The definition no longer has this digest: read the tool again and approve the current one.",
            code="definition_changed",
            errors=[FieldError("/definition_digest", "definition_changed", "not the latest definition")],
        )
    was_active, risk = tool.state == ToolState.ACTIVE, tool.risk
    if was_active and tool.approved_digest == tool.definition_digest:
        return tool
    before = TOOL.values(tool)
    definitions.approve(tool)
    tool.revision += 1
    await _flush(change.session, tool)
    change.record("tool.approve", TOOL, before, tool, server_id=tool.server_id, tool=tool.name)
    narrows = was_active and risk != tool.risk
    change.move(widens=[tool.server_id], narrows=[tool.server_id] if narrows else [])
    return tool


async def remove_tool(change: Change, id: UUID, if_match: Precondition) -> None:
    """Remove a tool and its approval: if a sync finds it again, it is quarantined. Raises ``NotFound`` and
    ``PreconditionFailed``."""
    server, tool = await _lock_tool(change.session, id, if_match)
    definitions.remove(tool, change.now)
    tool.approved_digest = None
    tool.revision += 1
    rows.touch(server)
    change.record(
        "tool.delete", TOOL, tool, None,
        details={"name": tool.name}, narrows=[server.id], server_id=server.id, tool=tool.name,
    )  # fmt: skip


async def _lock_tool(session: AsyncSession, id: UUID, if_match: Precondition) -> tuple[Server, Tool]:
    """Lock and read a tool and its server."""
    server = await _lock_server(session, (await get_tool(session, id)).server_id)
    tool = await session.get(Tool, id, populate_existing=True)
    if server is None or tool is None or tool.state == ToolState.REMOVED:
        raise NotFound("There is no such tool.")
    if_match.check(tool.revision)
    return server, tool


async def _lock_server(session: AsyncSession, id: UUID) -> Server | None:
    server = await rows.lock(session, Server, id, Lock.UPDATE)
    return None if server is None or server.ended_at is not None else server


async def _flush(session: AsyncSession, tool: Tool) -> None:
    await session.flush()
    await session.refresh(tool)


def _definition(body: ToolCreate) -> Definition:
    members = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
    item = {member: getattr(body, _FIELDS.get(member, member)) for member in members}
    try:
        return read_definition({member: value for member, value in item.items() if value is not None})
    except InvalidTool as odd:
        pointer = "/" + _FIELDS.get(odd.member or "inputSchema", odd.member or "")
        raise Invalid.field(pointer, "odd_definition", f"The tool is not valid: {odd.reason}.") from None
