"""Readiness of a worker: one query to the database, on a separate connection.

The API's pool may be exhausted while calls are still served, and the query must end in time if the database does not
respond. So it uses no connection of the pool.

Also measures the log horizon: readers only see events below the oldest open writing transaction of the cluster.

Such a transaction is legitimate, but a long one delays pollers, exports and sealing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from app.db.connection import DRIVER_FAULTS, GuardedConnection, Primary
from app.db.engine import plain_url
from app.db.recorder_health import describe_fault

WITHIN_S = 1.5
_CONNECT_S = 1.2
_SETTINGS = {"application_name": "scopegate-readiness", "timezone": "UTC", "statement_timeout": "2000"}
_LOOK = """
SELECT (SELECT version_num FROM alembic_version) AS revision,
    (SELECT oldest_generation FROM compatibility) AS oldest_generation, scopegate_epoch() IS NOT NULL AS recording,
    to_regclass('audit_events_' || to_char((now() AT TIME ZONE 'UTC') + interval '1 month', '"y"YYYY"m"MM'))
        IS NOT NULL AS ahead,
    current_setting('transaction_read_only')::boolean AS read_only,
    current_setting('synchronous_standby_names') <> '' AS synchronous,
    pg_snapshot_xmin(pg_current_snapshot())::text AS oldest, pg_snapshot_xmax(pg_current_snapshot())::text AS next,
    (SELECT count(*) FROM server_credentials WHERE key_id <> ALL($1))
        + (SELECT count(*) FROM webhook_secrets WHERE key_id <> ALL($1))
        + (SELECT count(*) FROM signal_streams WHERE key_id <> ALL($1))
        + (SELECT count(*) FROM audit_sinks WHERE key_id <> ALL($1)) AS sealed_away,
    (SELECT count(*) FROM webhooks WHERE status = 'active' AND ended_at IS NULL
        AND failing_since < now() - interval '5 minutes') AS unheard,
    (SELECT count(*) FROM audit_sinks WHERE status = 'active' AND ended_at IS NULL
        AND failing_since < now() - interval '5 minutes') AS ungiven,
    (SELECT count(*) FROM audit_sinks WHERE ended_at IS NULL AND missed_at > now() - interval '7 days') AS missing,
    (SELECT count(*) FROM signal_streams s JOIN identity_providers p ON p.id = s.provider_id
        WHERE p.status = 'active' AND p.ended_at IS NULL AND jsonb_typeof(p.settings -> 'signals') = 'object'
        AND s.stream_id IS NOT NULL AND (s.status IN ('paused', 'disabled')
        OR s.failing_since < now() - interval '5 minutes' OR s.error = 'verification'
        OR (s.verification_state IS NOT NULL AND s.verification_asked_at < now() - interval '5 minutes'))) AS silent
"""


class Unready(Exception):
    """The database is not ready; the text is the reason."""


class Readiness:
    """The readiness checks of one worker."""

    def __init__(self, database_url: str, key_ids: Sequence[str]) -> None:
        """``key_ids``: the ids of the configured encryption keys."""
        self._primary = Primary(plain_url(database_url))
        self._key_ids = list(key_ids)
        self._connection: GuardedConnection | None = None
        self._looking: asyncio.Task[asyncpg.Record] | None = None

    async def look(self) -> asyncpg.Record:
        """Look, within ``WITHIN_S``; concurrent callers share one look. Raises ``Unready``."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> asyncpg.Record:
        try:
            async with asyncio.timeout(WITHIN_S):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._primary.connect(_CONNECT_S, _SETTINGS)
                [row] = await self._connection.fetch(_LOOK, self._key_ids)
                return row
        except DRIVER_FAULTS as fault:
            self.close()
            raise Unready(describe_fault(fault)) from fault

    def close(self) -> None:
        """Close the connection immediately."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None


HELD_BACK_S = 10.0


HOLDER = """
SELECT l.pid, a.usename AS role, extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
ORDER BY age(l.transactionid) DESC LIMIT 1
"""
"""The oldest open writing transaction. Seconds are NULL if the role may not see them."""


@dataclass(slots=True)
class LogHorizon:
    """Measures for how long the horizon has not moved although events are beyond it.

    The ages of other roles' transactions are hidden from a serving role, so they are measured from outside.
    """

    _oldest: str | None = None
    _since: float = 0.0

    def observe(self, oldest: str, following: str, at: float) -> float:
        """Record a look: the oldest open transaction, the next one, monotonic seconds."""
        if oldest == following:
            self._oldest = None
            return 0.0
        if oldest != self._oldest:
            self._oldest, self._since = oldest, at
        return at - self._since
