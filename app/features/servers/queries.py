"""Queries of servers and their credentials."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Select, case, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.rows import has_text
from app.domain.objects import ToolState
from app.features.servers.schemas import ServerQuery
from app.http.pagination import Sorts, caseless, select_filtered
from app.models.servers import SERVER_TEXTS, Server, ServerCredential, Tool

SLUG_RESERVATION = timedelta(days=90)
MAX_SYNC_TIME = timedelta(minutes=3)
"""More than the time limit of a sync, after which it cannot be running."""

SORTS: Sorts = {"slug": col(Server.slug), "name": caseless(col(Server.name))}
"""The sort orders of the list, with an index for each."""


_SYNC_STATE = case((col(Server.sync_started_at).is_not(None), "running"), else_=col(Server.sync_state))


def select_servers(query: ServerQuery) -> Select[Server]:
    """Select the servers that match a filter."""
    statement = select_filtered(Server, query, "status", "transport", "slug", "owner_group_id")
    if query.sync_state:
        statement = statement.where(_SYNC_STATE.in_(query.sync_state))
    if query.q:
        texts = (col(Server.slug), col(Server.name), col(Server.description))
        statement = statement.where(has_text(query.q, *texts, indexed=SERVER_TEXTS))
    if query.include != "ended":
        statement = statement.where(col(Server.ended_at).is_(None))
    return statement


async def ended_among(session: AsyncSession, server_ids: Sequence[UUID]) -> list[UUID]:
    """The deleted servers among these; unknown ones are not included."""
    query = select(col(Server.id)).where(col(Server.id).in_(server_ids), col(Server.ended_at).is_not(None))
    return list(await session.scalars(query))


MAX_DOUBLINGS = 4


async def slug_is_taken(session: AsyncSession, slug: str) -> bool:
    """Whether a live server has this slug, or one that ended recently."""
    earliest = func.now() - SLUG_RESERVATION
    keeps_it = or_(col(Server.ended_at).is_(None), col(Server.ended_at) > earliest)
    return bool(await session.scalar(select(exists().where(col(Server.slug) == slug, keeps_it))))


async def owns_requestable(session: AsyncSession, group_id: UUID) -> bool:
    """Whether the members of a group decide about access to a server."""
    is_owned = col(Server.owner_group_id) == group_id
    owned = exists().where(is_owned, col(Server.requestable), col(Server.ended_at).is_(None))
    return bool(await session.scalar(select(owned)))


async def count_tools(session: AsyncSession, server_ids: Sequence[UUID]) -> dict[UUID, int]:
    """The number of tools that are not removed, by server; a server without any is missing."""
    query = (
        select(col(Tool.server_id), func.count())
        .where(col(Tool.server_id).in_(server_ids), col(Tool.state) != ToolState.REMOVED)
        .group_by(col(Tool.server_id))
    )
    return {server_id: count for server_id, count in await session.execute(query)}  # noqa: C416


async def own_credentials(session: AsyncSession, server_ids: Sequence[UUID]) -> dict[UUID, ServerCredential]:
    """The servers' own credentials by server."""
    query = select(ServerCredential).where(
        col(ServerCredential.server_id).in_(server_ids), col(ServerCredential.identity_id).is_(None)
    )
    return {row.server_id: row for row in await session.scalars(query)}
