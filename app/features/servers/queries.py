"""Queries of servers and their credentials."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Interval, Select, bindparam, case, exists, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.change import Change
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


async def mark_sync(session: AsyncSession, server_id: UUID, started_at: datetime) -> None:
    """Record that a requested sync is running."""
    await session.execute(
        update(Server)
        .where(col(Server.id) == server_id, col(Server.ended_at).is_(None))
        .values(sync_started_at=started_at, revision=col(Server.revision) + 1)
    )


async def fail_sync(session: AsyncSession, server_id: UUID, started_at: datetime, reason: str) -> None:
    """Record that a running sync failed, unless another has started since."""
    await session.execute(
        update(Server)
        .where(col(Server.id) == server_id, col(Server.sync_started_at) == started_at)
        .values(_ended_without_result(reason))
    )


async def fail_lost_syncs(session: AsyncSession, reason: str) -> int:
    """Record the failure of syncs that exceeded their time, since their worker was killed; return their number."""
    earliest = func.clock_timestamp() - MAX_SYNC_TIME
    lost = update(Server).where(col(Server.sync_started_at) < earliest).returning(col(Server.id))
    return len((await session.scalars(lost.values(_ended_without_result(reason)))).all())


def _ended_without_result(reason: str) -> dict[str, Any]:
    failed = {"sync_state": "error", "sync_error": reason, "sync_started_at": None}
    return {**failed, "revision": col(Server.revision) + 1}


async def ended_among(session: AsyncSession, server_ids: Sequence[UUID]) -> list[UUID]:
    """The deleted servers among these; unknown ones are not included."""
    query = select(col(Server.id)).where(col(Server.id).in_(server_ids), col(Server.ended_at).is_not(None))
    return list(await session.scalars(query))


# The first worker moves the time forward, by twice as much for each failure, so that each server is claimed once; the
# next time is randomized, so that they are not all due at once. A server that was never synced is skipped: its first
# sync approves its tools, which a person must decide.
_CLAIM = text(
    """
    UPDATE servers SET sync_due_at = clock_timestamp()
        + :interval * power(2, least(sync_failures, :most_doublings)) * (0.9 + 0.2 * random())
    WHERE id IN (
        SELECT id FROM servers
        WHERE ended_at IS NULL AND status = 'active' AND first_synced_at IS NOT NULL
          AND coalesce(sync_due_at, sync_at + :interval, first_synced_at) <= clock_timestamp()
          AND transport = ANY(:transports)
        ORDER BY coalesce(sync_due_at, sync_at + :interval, first_synced_at), id
        LIMIT :most FOR UPDATE SKIP LOCKED
    )
    RETURNING id
    """
).bindparams(bindparam("interval", type_=Interval()))
MAX_DOUBLINGS = 4


async def claim_due(
    session: AsyncSession,
    interval: timedelta,
    limit: int,
    transports: Sequence[str] = ("streamable_http", "stdio"),
) -> list[UUID]:
    """Claim the servers that are due for a sync; they belong to this caller once it has committed."""
    bound = {"interval": interval, "most": limit, "most_doublings": MAX_DOUBLINGS}
    return list(await session.scalars(_CLAIM, {**bound, "transports": list(transports)}))


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


_ERASE = text("DELETE FROM server_credentials WHERE identity_id = :id")


async def erase(change: Change, identity_id: UUID) -> None:
    """Delete the identity's own credentials for servers. No call can use them any more, so no version moves."""
    await change.session.execute(_ERASE, {"id": identity_id})
