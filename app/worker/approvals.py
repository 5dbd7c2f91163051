"""How approvals stand that clients wait for: heard on a channel, and looked up again every now and then all the same.

All that a worker's requests wait for is looked up in one statement, so a wait holds no connection.
"""

import asyncio
from collections.abc import Collection
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.db.approval_channel import CHANNEL
from app.domain.errors import Unavailable
from app.gateway import Gateway

__all__ = ["CHANNEL", "ApprovalNewsPort"]

LOOK_EVERY_S = 2.0
"""A withdrawn right ends its approvals, and a wait for them has to end with it."""

# What is not there, or ran out, is not given any more; nor is anything while somebody whose call it is may not call.
_STANDING = text("""
SELECT a.id, a.state = 'pending' AS waits
FROM approvals a JOIN identities i ON i.id = a.identity_id LEFT JOIN identities o ON o.id = i.owner_id
WHERE a.id = ANY(CAST(:ids AS uuid[])) AND a.state IN ('pending', 'approved') AND a.expires_at > clock_timestamp()
  AND i.status = 'active' AND coalesce(o.status, 'active') = 'active'
""")
_WHOSE = text(
    "SELECT id, token_id FROM approvals WHERE id = ANY(CAST(:ids AS uuid[])) AND token_id IS NOT NULL"
)
MAX_TOLD = 1_000
"""Decisions that are remembered until the next look."""
_FAULTS = (Unavailable, SQLAlchemyError, OSError)


class ApprovalNewsPort:
    """``admission.store.ApprovalNews``."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions
        self._waiting: dict[asyncio.Future[None], frozenset[UUID]] = {}
        self._news = asyncio.Event()
        self._told: set[UUID] = set()
        self.gateway: Gateway | None = None
        """Who tells clients of decisions; set once there is one."""

    async def settled(self, ids: Collection[UUID]) -> None:
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[settled] = frozenset(ids)
        # It may have been decided before anybody listened.
        self._news.set()
        try:
            await settled
        finally:
            del self._waiting[settled]

    def hear(self, payload: str | None) -> None:
        """An approval was decided; ``None``: some may have been while nobody listened."""
        if payload is not None and self.gateway is not None and self.gateway.has_approval_listeners:
            if len(self._told) < MAX_TOLD:
                self._told.add(UUID(hex=payload))
            self._news.set()
        if self._waiting:
            self._news.set()

    async def run(self) -> None:
        """Look at what is waited for until cancelled; a database that is away is asked again."""
        while True:
            await self._next()
            self._news.clear()
            try:
                await self._look()
            except _FAULTS:
                continue

    async def _next(self) -> None:
        """Wait for news, and no longer than until the next look while anybody waits."""
        try:
            async with asyncio.timeout(LOOK_EVERY_S if self._waiting else None):
                await self._news.wait()
        except TimeoutError:
            return

    async def _look(self) -> None:
        wanted = {id for ids in self._waiting.values() for id in ids}
        told, self._told = self._told, set()
        if not wanted and not told:
            return
        async with self._sessions() as session:
            standing = {row.id: row.waits for row in await session.execute(_STANDING, {"ids": list(wanted)})}
            whose = list(await session.execute(_WHOSE, {"ids": list(told)})) if told else []
        for id, token_id in whose:
            if self.gateway is not None:
                self.gateway.announce_approval(id, token_id)
        for settled, ids in list(self._waiting.items()):
            if not settled.done() and not (ids <= standing.keys() and any(standing[id] for id in ids)):
                settled.set_result(None)
