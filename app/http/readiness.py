"""One look at the database for whoever asks whether this worker can serve, on a connection of its own.

The pool of the API may be in use to the last connection while calls are served all the same, and a look must end in
time when the database does not answer: so it takes no connection from there, and waits for none.

How far the log can be read: below the oldest writing transaction that is still open, anywhere in the cluster.

Such a transaction is not wrong, but one that stays open keeps pollers, exports and sealing from all that came after.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from app.db.connection import DRIVER_FAULTS, GuardedConnection, Primary
from app.db.engine import plain_url
from app.db.recorder_health import words_of

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
    """The database does not serve; the text says how in words."""


class Readiness:
    """The looks of one worker."""

    def __init__(self, database_url: str, key_ids: Sequence[str]) -> None:
        """``key_ids``: of the encryption keys that are configured."""
        self._primary = Primary(plain_url(database_url))
        self._key_ids = list(key_ids)
        self._connection: GuardedConnection | None = None
        self._looking: asyncio.Task[asyncpg.Record] | None = None

    async def look(self) -> asyncpg.Record:
        """Look, within ``WITHIN_S``; those who ask at the same time share one look. Raises ``Unready``."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> asyncpg.Record:
        try:
            async with asyncio.timeout(WITHIN_S):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._primary.connect(_CONNECT_S, _SETTINGS)
                [found] = await self._connection.fetch(_LOOK, self._key_ids)
                return found
        except DRIVER_FAULTS as fault:
            self.close()
            raise Unready(words_of(fault)) from fault

    def close(self) -> None:
        """End the connection at once."""
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
"""Who has the oldest writing transaction open. Seconds are NULL where the asking role may not see them."""


@dataclass(slots=True)
class LogHorizon:
    """Remembers between looks since when the horizon has not moved although there is something beyond it.

    The ages of other roles' transactions are hidden from a serving role, so they are measured from outside.
    """

    _oldest: str | None = None
    _since: float = 0.0

    def observe(self, oldest: str, following: str, at: float) -> float:
        """Take one look: the oldest open transaction, the next one to be given out, monotonic seconds."""
        if oldest == following:
            self._oldest = None
            return 0.0
        if oldest != self._oldest:
            self._oldest, self._since = oldest, at
        return at - self._since
