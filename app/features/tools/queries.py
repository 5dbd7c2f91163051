"""Queries of tools. Tools of an ended server are hidden with it."""

from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.rows import has_text
from app.domain.objects import ToolState
from app.features.tools.schemas import ToolQuery
from app.http.pagination import Sorts
from app.models.servers import TOOL_TEXTS, Server, Tool


def _of_servers(*, ended: bool) -> Select[Tool]:
    statement = select(Tool).join(Server, col(Server.id) == col(Tool.server_id))
    return statement if ended else statement.where(col(Server.ended_at).is_(None))


SORTS: Sorts = {
    "name": col(Tool.name),
}
"""The sort orders of the list, with an index for each."""


def select_tools(query: ToolQuery) -> Select[Tool]:
    """Select the tools that match a filter; removed ones only on demand."""
    statement = _of_servers(ended=query.include == "ended")
    for field, values in (
        (col(Tool.server_id), query.server_id),
        (col(Tool.name), query.name),
        (col(Tool.risk), query.risk),
        (col(Tool.state), query.state),
    ):
        if values:
            statement = statement.where(field.in_(values))
    if not query.state and query.include != "ended":
        statement = statement.where(col(Tool.state) != ToolState.REMOVED)
    if query.q:
        texts = (col(Tool.name), col(Tool.title), col(Tool.description))
        statement = statement.where(has_text(query.q, *texts, indexed=TOOL_TEXTS))
    return statement


async def find(session: AsyncSession, tool_id: UUID, *, ended: bool = False) -> Tool | None:
    """Find a tool; a removed one or one of an ended server only on demand."""
    statement = _of_servers(ended=ended).where(col(Tool.id) == tool_id)
    if not ended:
        statement = statement.where(col(Tool.state) != ToolState.REMOVED)
    return (await session.scalars(statement)).one_or_none()


async def fresh(session: AsyncSession, tool_id: UUID) -> Tool | None:
    """Read a tool in any state. The caller has locked its server's row."""
    statement = select(Tool).where(col(Tool.id) == tool_id)
    return (await session.scalars(statement.execution_options(populate_existing=True))).one_or_none()


async def of_server(session: AsyncSession, server_id: UUID) -> dict[str, Tool]:
    """All current and former tools of a server, by exact name. The caller has locked the server's row."""
    statement = select(Tool).where(col(Tool.server_id) == server_id)
    rows = await session.scalars(statement.execution_options(populate_existing=True))
    return {row.name: row for row in rows}
