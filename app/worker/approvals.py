"""The state of approvals that clients wait for: notified on a channel, and queried periodically.

One statement queries all approvals that the requests of a worker wait for, so that a wait holds no connection.
"""

import asyncio
from collections.abc import Collection
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.db.approval_channel import CHANNEL
from app.db.jobs import repeat
from app.gateway import Gateway

__all__ = ["CHANNEL", "ApprovalNewsPort"]

LOOK_EVERY_S = 2.0
"""The interval of the queries: a withdrawn right ends its approvals, which must end the wait for them."""

# Approvals that are missing, expired, or of a person who may no longer call do not count.
_STANDING = text("""
SELECT a.id, a.state = 'pending' AS waits
FROM approvals a JOIN identities i ON i.id = a.identity_id LEFT JOIN identities o ON o.id = i.owner_id
WHERE a.id = ANY(CAST(:ids AS uuid[])) AND a.state IN ('pending', 'approved') AND a.expires_at > clock_timestamp()
  AND i.status = 'active' AND coalesce(o.status, 'active') = 'active'
""")
_WHOSE = text(
    "SELECT id, token_id FROM approvals WHERE id = ANY(CAST(:ids AS uuid[])) AND token_id IS NOT NULL"
)
MAX_DECIDED = 1_000
"""The maximum of decisions that are kept until the next look."""


class ApprovalNewsPort:
    """``admission.store.ApprovalNews``."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions
        self._waiting: dict[asyncio.Future[None], frozenset[UUID]] = {}
        self._news = asyncio.Event()
        self._decided: set[UUID] = set()
        self.gateway: Gateway | None = None
        """The gateway, which notifies clients of decisions; set once it exists."""

    async def settled(self, ids: Collection[UUID]) -> None:
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[settled] = frozenset(ids)
        # It may have been decided before this wait began.
        self._news.set()
        try:
            await settled
        finally:
            del self._waiting[settled]

    def hear(self, payload: str | None) -> None:
        """Handle a decision; ``None``: some may have been missed."""
        if payload is not None and self.gateway is not None and self.gateway.has_approval_listeners:
            if len(self._decided) < MAX_DECIDED:
                self._decided.add(UUID(hex=payload))
            self._news.set()
        if self._waiting:
            self._news.set()

    async def run(self) -> None:
        """Query the approvals until cancelled, periodically and when there is news."""
        await repeat("reading approvals", self._look, LOOK_EVERY_S, wake=self._news)

    async def _look(self) -> None:
        wanted = {id for ids in self._waiting.values() for id in ids}
        decided, self._decided = self._decided, set()
        if not wanted and not decided:
            return
        async with self._sessions() as session:
            standing = {row.id: row.waits for row in await session.execute(_STANDING, {"ids": list(wanted)})}
            whose = list(await session.execute(_WHOSE, {"ids": list(decided)})) if decided else []
        for id, token_id in whose:
            if self.gateway is not None:
                self.gateway.announce_approval(id, token_id)
        for settled, ids in list(self._waiting.items()):
            if not settled.done() and not (ids <= standing.keys() and any(standing[id] for id in ids)):
                settled.set_result(None)
