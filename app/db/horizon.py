"""How far the log can be read: below the oldest writing transaction that is still open, anywhere in the cluster.

Such a transaction is not wrong, but one that stays open keeps pollers, exports and sealing from all that came after.
"""

from dataclasses import dataclass

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
