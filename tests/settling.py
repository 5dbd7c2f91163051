"""Waiting until the trail can be read to its end.

Whoever reads it in the order of commits stops at the oldest transaction that is open anywhere in the cluster, and
tests share one: those of other tests hold it back for a moment.
"""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

_PATIENCE_S = 50.0
_NEXT = text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
_OLDEST = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")


async def settled(sessions: async_sessionmaker[AsyncSession]) -> None:
    """Wait until every transaction that has begun by now has ended. Raises ``TimeoutError``."""
    async with asyncio.timeout(_PATIENCE_S), sessions() as session:
        following = await session.scalar(_NEXT)
        while True:
            if await session.scalar(_OLDEST) >= following:
                return
            # Nobody tells of the end of another database's transaction.
            await asyncio.sleep(0.01)
