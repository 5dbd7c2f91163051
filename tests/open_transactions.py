"""Waiting until nobody keeps a transaction open in the database of a test.

The loops of a service open theirs at any time, and for a moment only: one that is kept while something else is waited
for is there at every look.
"""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

_PATIENCE_S = 50.0
_OPEN = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND state LIKE 'idle in transaction%'"
)


async def none_open(sessions: async_sessionmaker[AsyncSession]) -> None:
    """Wait for a moment at which no transaction waits for whoever began it. Raises ``TimeoutError``."""
    async with asyncio.timeout(_PATIENCE_S), sessions() as session:
        while await session.scalar(_OPEN):
            # Each look is a statement of its own: activity is read once in a transaction.
            await session.rollback()
