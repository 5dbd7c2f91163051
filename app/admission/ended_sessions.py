"""The ends of sessions, forgotten once they guard nothing.

An ended session has a version, which its calls, resting on version 0, no longer find. But each of those calls rests on
its token too, and a session opens with no other: a token that is over for good lets none of them in. Versions of all
else stay, as whoever remembered one could take it for another that began again.
"""

from datetime import timedelta
from uuid import UUID

import asyncpg

from app.db.engine import plain_url

OVER_FOR = timedelta(days=31)
"""Far longer than a decision is kept anywhere, or than the clocks of two primaries differ."""
AT_ONCE = 5_000
# In the order of ids, each looked at once. By the database's clock, as calls are decided.
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
    """Delete the ends of sessions whose token has been over for ``OVER_FOR``, so many with one statement; how many
    there were.

    Raises ``asyncpg.PostgresError`` or ``OSError`` when the database cannot do it.
    """
    connection = await asyncpg.connect(plain_url(owner_url), timeout=10)
    try:
        gone, last = 0, _BEFORE_ALL
        while True:
            row = await connection.fetchrow(_FORGET, last, at_once, OVER_FOR)
            if row is None or row["last"] is None:
                return gone
            gone, last = gone + row["gone"], row["last"]
    finally:
        await connection.close()
