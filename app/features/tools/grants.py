"""The grants that reach a tool, with its last use by each."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.unused import MAX_WINDOW, TOOLS, recording_start
from app.db.clock import transaction_time
from app.features.grants.queries import is_active, reaches_server, reaches_tool
from app.features.grants.schemas import GrantView
from app.features.tools.service import get_tool
from app.http.pagination import Cursors, ListQuery, read_page
from app.http.runtime import Runtime
from app.http.schemas import Strict, example
from app.lib.ids import ToolId
from app.models.access import Grant, GrantUse
from app.models.servers import Server, Tool

_GRANT_EXAMPLE: Any = GrantView.model_config["json_schema_extra"]
_EXAMPLE: dict[str, Any] = {**_GRANT_EXAMPLE["examples"][0], "last_used_at": None}


class ToolGrantQuery(ListQuery):
    """Filters of the grants that reach a tool."""

    unused_for_days: int | None = Field(
        default=None,
        ge=1,
        le=MAX_WINDOW.days,
        description="Only grants without a use of the tool for this many days. Uses are recorded within a "
        "minute; nothing is known of the time before `observed_since`.",
    )


class ToolGrantView(GrantView):
    """A grant that reaches a tool."""

    model_config = example(_EXAMPLE)
    last_used_at: datetime | None = Field(
        description="The last use of the tool by this grant; null: no use is known."
    )


class ToolGrantsView(Strict):
    """The active grants that reach a tool."""

    tool_id: ToolId
    observed_since: datetime = Field(description="When the recording of uses began.")
    items: list[ToolGrantView] = Field(description="The grants of this page, newest first.")
    next_cursor: str | None


async def list_tool_grants(
    session: AsyncSession, tool_id: UUID, query: ToolGrantQuery, runtime: Runtime
) -> ToolGrantsView:
    """Read a page of the active grants that include a tool by its server's current labels and its own risk. Raises
    ``NotFound``."""
    tool = await get_tool(session, tool_id)
    now = await transaction_time(session)
    filters = query.filters() | {"tool_id": tool_id}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_tool_grants", filters)
    rows, next_cursor = await read_page(session, _reaching(tool, query, now), Grant, cursors, query)
    uses = _uses(tool).where(col(GrantUse.grant_id).in_([row.id for row in rows]))
    used = {use.grant_id: use.last_used_at for use in await session.scalars(uses)}
    items = [
        ToolGrantView(**dict(GrantView.from_row(row, now)), last_used_at=used.get(row.id)) for row in rows
    ]
    since = await recording_start(session)
    return ToolGrantsView(tool_id=tool_id, observed_since=since, items=items, next_cursor=next_cursor)


def _reaching(tool: Tool, query: ToolGrantQuery, now: datetime) -> Select[Grant]:
    within = select(Tool).join(Server, col(Server.id) == col(Tool.server_id)).where(col(Tool.id) == tool.id)
    statement = select(Grant).where(
        is_active(now), within.where(reaches_server(), reaches_tool()).correlate(Grant).exists()
    )
    if query.unused_for_days is None:
        return statement
    since = now - timedelta(days=query.unused_for_days)
    used = _uses(tool).where(col(GrantUse.grant_id) == col(Grant.id), col(GrantUse.last_used_at) > since)
    return statement.where(~used.correlate(Grant).exists())


def _uses(tool: Tool) -> Select[GrantUse]:
    return select(GrantUse).where(
        col(GrantUse.server_id) == tool.server_id,
        col(GrantUse.part) == TOOLS,
        col(GrantUse.tool) == tool.name,
    )
