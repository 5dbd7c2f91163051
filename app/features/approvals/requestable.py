"""Servers that people can ask for, and what they are shown of them: names and risks, and nothing of where they are."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Select, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import NotFound
from app.domain.risk import Risk
from app.features.approvals.access_schemas import RequestableServer, RequestableTool
from app.http.selectors import ToolSelectorModel, tool_selector_to_domain
from app.models.servers import Server
from app.models.tools import Tool

_ACTIVE = "active"


async def anything_requestable(session: AsyncSession) -> bool:
    """Whether there is a server that can be asked for."""
    return bool(await session.scalar(select(select_requestable().exists())))


def select_requestable(q: str | None = None) -> Select[Server]:
    """The servers that can be asked for, with this text in what is shown of them."""
    statement = select(Server).where(
        col(Server.requestable), col(Server.ended_at).is_(None), col(Server.status) == _ACTIVE
    )
    if not q:
        return statement
    tools = exists().where(
        col(Tool.server_id) == col(Server.id),
        col(Tool.state) == _ACTIVE,
        or_(*(field.icontains(q, autoescape=True) for field in (col(Tool.name), col(Tool.title)))),
    )
    texts = (col(Server.slug), col(Server.name), col(Server.description))
    return statement.where(or_(*(field.icontains(q, autoescape=True) for field in texts), tools))


async def show_requestable(session: AsyncSession, servers: Collection[Server]) -> list[RequestableServer]:
    """These servers with their active tools."""
    tools = await tools_of(session, [server.id for server in servers])
    return [
        RequestableServer(
            id=server.id,
            slug=server.slug,
            name=server.name,
            description=server.description,
            tools=tools.get(server.id, []),
        )
        for server in servers
    ]


async def require_requestable(session: AsyncSession, server_id: UUID) -> RequestableServer:
    """One that can be asked for. Raises ``NotFound`` for any other."""
    found = await session.scalar(select_requestable().where(col(Server.id) == server_id))
    if found is None:
        raise NotFound("There is no such server, or it cannot be asked for.")
    return (await show_requestable(session, [found]))[0]


async def tools_of(session: AsyncSession, server_ids: Collection[UUID]) -> dict[UUID, list[RequestableTool]]:
    """The active tools of these servers, by name."""
    if not server_ids:
        return {}
    statement = (
        select(col(Tool.server_id), col(Tool.name), col(Tool.title), col(Tool.risk))
        .where(col(Tool.server_id).in_(server_ids), col(Tool.state) == _ACTIVE)
        .order_by(col(Tool.server_id), col(Tool.name))
    )
    found: dict[UUID, list[RequestableTool]] = {}
    for server_id, name, title, risk in await session.execute(statement):
        found.setdefault(server_id, []).append(RequestableTool(name=name, title=title, risk=Risk(risk)))
    return found


async def risks_of(session: AsyncSession, server_id: UUID) -> dict[str, Risk]:
    """The active tools of a server, by name, with what is known of their risk."""
    return {tool.name: tool.risk for tool in (await tools_of(session, [server_id])).get(server_id, [])}


def selected(tools: Collection[RequestableTool], selector: ToolSelectorModel) -> list[RequestableTool]:
    """Those of these tools that a selector reaches now."""
    wanted = tool_selector_to_domain(selector)
    return [tool for tool in tools if wanted.matches(tool.name, tool.risk)]
