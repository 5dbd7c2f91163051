"""Storage of the uses of grants: each worker writes them periodically, and old ones are deleted."""

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.engine import plain_url

TOOLS = "tools"
"""The part for calls of tools; the others are those of ``domain.objects.Part``."""
MAX_WINDOW = timedelta(days=730)

Use = tuple[UUID, UUID, str, str]
"""Grant, server, part, tool."""
User = tuple[UUID, UUID]
"""Grant, identity."""

# Rows are written in the order of their keys, so that two workers cannot deadlock.
_WRITE_USES = text("""
INSERT INTO grant_uses (grant_id, server_id, part, tool, last_used_at)
SELECT t.*, clock_timestamp()
FROM unnest(CAST(:grants AS uuid[]), CAST(:servers AS uuid[]), CAST(:parts AS text[]), CAST(:tools AS text[])) AS t
ON CONFLICT (grant_id, server_id, part, tool) DO UPDATE SET last_used_at = excluded.last_used_at
""")
_WRITE_USERS = text("""
INSERT INTO grant_users (grant_id, identity_id, last_used_at)
SELECT t.*, clock_timestamp() FROM unnest(CAST(:grants AS uuid[]), CAST(:identities AS uuid[])) AS t
ON CONFLICT (grant_id, identity_id) DO UPDATE SET last_used_at = excluded.last_used_at
""")
_AT_ONCE = 5_000


async def write_uses(session: AsyncSession, uses: Collection[Use], users: Collection[User]) -> None:
    """Write that all of these were used now. Each batch has its own transaction."""
    for batch in _batches(sorted(uses)):
        grants, servers, parts, tools = zip(*batch, strict=True)
        columns = {
            "grants": list(grants),
            "servers": list(servers),
            "parts": list(parts),
            "tools": list(tools),
        }
        await session.execute(_WRITE_USES, columns)
        await session.commit()
    for batch in _batches(sorted(users)):
        grants, identities = zip(*batch, strict=True)
        await session.execute(_WRITE_USERS, {"grants": list(grants), "identities": list(identities)})
        await session.commit()


def _batches(rows: list[tuple[UUID, ...]] | list[Use] | list[User]) -> list[list[tuple[object, ...]]]:
    return [list(rows[start : start + _AT_ONCE]) for start in range(0, len(rows), _AT_ONCE)]


# Uses of ended grants are no longer reported.
_FORGET = """
DELETE FROM {table} u WHERE last_used_at < $1
    OR EXISTS (SELECT FROM grants g WHERE g.id = u.grant_id AND g.ended_at < $2)
"""
_ENDED_FOR = timedelta(days=31)


async def forget_uses(owner_url: str, *, now: datetime) -> int:
    """Delete the uses that no report needs: older than the longest window, or of an ended grant. Returns how many.

    Raises ``asyncpg.PostgresError`` or ``OSError`` when the database cannot do it.
    """
    connection = await asyncpg.connect(plain_url(owner_url), timeout=10)
    try:
        count = 0
        for table in ("grant_uses", "grant_users"):
            status = await connection.execute(_FORGET.format(table=table), now - MAX_WINDOW, now - _ENDED_FOR)
            count += int(status.rpartition(" ")[2])
        return count
    finally:
        await connection.close()
