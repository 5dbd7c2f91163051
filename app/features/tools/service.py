"""Manual changes to a server's tools: create, quarantine, approve, override the risk, remove.

Every change locks the server's row first, which serializes it with syncs of the same server.
"""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.versions import move_versions
from app.domain.errors import Conflict, FieldError, Invalid, NotFound
from app.domain.objects import ToolState
from app.features.audit.record import record
from app.features.servers import queries as servers
from app.features.tools import catalogue, queries
from app.features.tools.definitions import Definition, InvalidTool, read_definition
from app.features.tools.history import keep_definitions
from app.features.tools.schemas import ToolCreate, ToolPatch
from app.http.authorization import Caller
from app.models.servers import Server, Tool

_FIELD_OF_MEMBER = {
    "inputSchema": "/input_schema",
    "outputSchema": "/output_schema",
    "annotations": "/annotations",
    "name": "/name",
}


async def require(session: AsyncSession, tool_id: UUID, *, ended: bool = False) -> Tool:
    """Read a tool. Raises ``NotFound``."""
    row = await queries.find(session, tool_id, ended=ended)
    if row is None:
        raise _not_found()
    return row


async def require_locked(session: AsyncSession, tool_id: UUID) -> tuple[Server, Tool]:
    """Lock and read a tool and its server. Raises ``NotFound``."""
    unlocked = await require(session, tool_id)
    server = await servers.lock(session, unlocked.server_id)
    row = await queries.fresh(session, tool_id)
    if server is None or row is None or row.state == ToolState.REMOVED:
        raise _not_found()
    return server, row


async def create(session: AsyncSession, new: ToolCreate, caller: Caller, request_id: str | None) -> Tool:
    """Create a tool manually. Raises ``Invalid``, and ``Conflict`` (``tool_exists``)."""
    definition = _definition(new)
    server = await servers.lock(session, new.server_id)
    if server is None:
        raise Invalid.field("/server_id", "unknown_server", "There is no such server.")
    row = (await queries.of_server(session, server.id)).get(new.name)
    if row is not None and row.state != ToolState.REMOVED:
        raise Conflict(
            "The server already has a tool of this name.",
            code="tool_exists",
            errors=[FieldError("/name", "tool_exists", "choose another name, or change that tool")],
        )
    if row is None:
        row = catalogue.new_tool(server.id, definition, approved=True)
        session.add(row)
    else:
        # A returning tool keeps its id: one id for each name of a server.
        catalogue.adopt(row, definition)
        row.risk_overridden = False
        catalogue.approve(row)
        row.revision += 1
    if new.risk is not None:
        row.risk, row.risk_overridden = new.risk, True
    changes = {"risk": row.risk, "definition_digest": row.definition_digest.hex()}
    await _record_change(session, server, row, "tool.create", changes, caller, request_id, narrows=False)
    return row


async def update(
    session: AsyncSession,
    server: Server,
    row: Tool,
    patch: ToolPatch,
    caller: Caller,
    request_id: str | None,
) -> None:
    """Override the risk, or quarantine or release the tool. Raises ``Conflict`` (``definition_not_approved``)."""
    before = {"risk": row.risk, "risk_overridden": row.risk_overridden, "state": row.state}
    was_held = row.held
    fields = patch.given()
    if "risk" in fields:
        row.risk_overridden = patch.risk is not None
        row.risk = patch.risk or row.assessed_risk
    if "state" in fields:
        if patch.state == "active" and row.approved_digest != row.definition_digest:
            raise Conflict(
                "The tool's definition is not the approved one: review it and POST its digest to "
                "/api/v1/tools/{id}/approve.",
                code="definition_not_approved",
            )
        row.state, row.held = patch.state, patch.state == "quarantined"
    after = {"risk": row.risk, "risk_overridden": row.risk_overridden, "state": row.state}
    if after == before and was_held == row.held:
        return
    row.revision += 1
    # A grant by risk may not reach the tool any more, and no grant reaches a quarantined one.
    narrows = before["state"] == ToolState.ACTIVE and (row.state, row.risk) != (
        before["state"],
        before["risk"],
    )
    changes = {
        name: {"from": before[name], "to": after[name]} for name in before if before[name] != after[name]
    }
    await _record_change(session, server, row, "tool.update", changes, caller, request_id, narrows=narrows)


async def approve(
    session: AsyncSession,
    server: Server,
    row: Tool,
    seen_digest: str,
    caller: Caller,
    request_id: str | None,
) -> None:
    """Approve the latest definition, with the digest that was reviewed. Raises ``Conflict``
    (``definition_changed``)."""
    if row.definition_digest.hex() != seen_digest:
        raise Conflict(
            "The definition no longer has this digest: read the tool again and approve the current one.",
            code="definition_changed",
            errors=[FieldError("/definition_digest", "definition_changed", "not the latest definition")],
        )
    before = row.approved_digest
    if before == row.definition_digest and row.state == ToolState.ACTIVE:
        return
    risk, was_active = row.risk, row.state == ToolState.ACTIVE
    catalogue.approve(row)
    row.revision += 1
    changes = {
        "approved_digest": {"from": None if before is None else before.hex(), "to": seen_digest},
        "risk": {"from": risk, "to": row.risk},
    }
    narrows = was_active and risk != row.risk
    await _record_change(session, server, row, "tool.approve", changes, caller, request_id, narrows=narrows)


async def remove(
    session: AsyncSession, server: Server, row: Tool, caller: Caller, request_id: str | None
) -> None:
    """Remove a tool and its approval: if a sync finds it again, it is quarantined."""
    catalogue.remove(row, await servers.database_time(session))
    row.approved_digest = None
    row.revision += 1
    await _record_change(
        session, server, row, "tool.delete", {"name": row.name}, caller, request_id, narrows=True
    )


async def _record_change(
    session: AsyncSession,
    server: Server,
    row: Tool,
    action: str,
    changes: dict[str, Any],
    caller: Caller,
    request_id: str | None,
    *,
    narrows: bool,
) -> None:
    if action in {"tool.create", "tool.delete"}:
        # The view of the server has its number of tools.
        server.revision += 1
    await session.flush()
    await keep_definitions(session, [row])
    await move_versions(session, [server.id], narrows=narrows)
    await record(
        session, caller, action, "tool", row.id,
        changes=changes, request_id=request_id, server_id=server.id, tool=row.name,
    )  # fmt: skip
    await session.refresh(row)


def _definition(new: ToolCreate) -> Definition:
    item = {
        "name": new.name,
        "title": new.title,
        "description": new.description,
        "inputSchema": new.input_schema,
        "outputSchema": new.output_schema,
        "annotations": new.annotations,
    }
    try:
        return read_definition({member: value for member, value in item.items() if value is not None})
    except InvalidTool as odd:
        pointer = _FIELD_OF_MEMBER.get(odd.member or "", "/input_schema")
        raise Invalid.field(pointer, "odd_definition", f"The tool is not valid: {odd.reason}.") from None


def _not_found() -> NotFound:
    return NotFound("There is no such tool.")
