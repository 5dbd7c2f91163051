"""Deletion of ended sessions that protect nothing any more.

The version of an ended session blocks its calls, which depend on version 0. Those calls also depend on the session's
token, and a token that has expired or was revoked blocks them for good. Versions of other objects are never deleted: a
worker that remembers one could mistake a restarted count for it.
"""

from datetime import timedelta
from uuid import UUID

import asyncpg

from app.db.engine import plain_url

OVER_FOR = timedelta(days=31)
"""Far longer than any decision is cached and than the clocks of two primaries differ."""
AT_ONCE = 5_000
# Each session is read once, in the order of ids. The database's clock decides, as for calls.
_FORGET = """
WITH looked AS (
    SELECT session_id, token_id FROM ended_sessions WHERE session_id > $1 ORDER BY session_id LIMIT $2
), over AS (
    SELECT l.session_id FROM looked l JOIN tokens t ON t.id = l.token_id
    WHERE least(t.expires_at, t.revoked_at) < clock_timestamp() - $3::interval
), ends AS (
    DELETE FROM ended_sessions e USING over o WHERE e.session_id = o.session_id
), versions AS (
    DELETE FROM access_versions v USING over o WHERE v.id = o.session_id
)
SELECT (SELECT session_id FROM looked ORDER BY session_id DESC LIMIT 1) AS last, (SELECT count(*) FROM over) AS gone
"""
_BEFORE_ALL = UUID(int=0)


async def forget_ended_sessions(owner_url: str, *, at_once: int = AT_ONCE) -> int:
    """Delete the ended sessions whose token has been over for ``OVER_FOR``, in batches. Returns how many.

    Raises ``asyncpg.PostgresError`` or ``OSError`` when the database cannot do it.
    """
    connection = await asyncpg.connect(plain_url(owner_url), timeout=10)
    try:
        count, last = 0, _BEFORE_ALL
        while True:
            row = await connection.fetchrow(_FORGET, last, at_once, OVER_FOR)
            if row is None or row["last"] is None:
                return count
            count, last = count + row["gone"], row["last"]
    finally:
        await connection.close()
