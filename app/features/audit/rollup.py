"""Counting the trail by the hour as it grows, each event exactly once: what charts and histograms are drawn from.

Hours are counted in the order of commits, in one transaction with the note of how far that went. Every worker tries;
the row of the note is taken by one, and the others pass on.
"""

import asyncio
import logging
from datetime import datetime, timedelta
from random import SystemRandom

import asyncpg
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.db.engine import OUT_OF_REACH, plain_url
from app.domain.errors import Unavailable
from app.features.audit import queries
from app.features.audit.schemas import AuditFilters
from app.lib.logs import log_fault
from app.models.audit import AuditRollup

COUNT_EVERY_S = 5.0
AT_ONCE = 20_000
"""Events in a transaction: the log is read up to the oldest one that writes, so it has to be a short one."""
_log = logging.getLogger(__name__)
# Of its own: a generator that others seed would bring workers together again.
_spread = SystemRandom()
_EVERYTHING = AuditFilters()
_COUNT = text("""
INSERT INTO audit_hours AS h (
    hour, action, decision, events, things, first_epoch, first_xact, first_seq, last_epoch, last_xact, last_seq
)
SELECT date_trunc('hour', time, 'UTC') AS hour, action, coalesce(decision, '') AS kind, count(*),
    sum(coalesce(event_count, 1)), :epoch, (min(ARRAY[xact, seq]))[1], (min(ARRAY[xact, seq]))[2],
    :epoch, (max(ARRAY[xact, seq]))[1], (max(ARRAY[xact, seq]))[2]
FROM audit_events
WHERE epoch = :epoch AND (xact, seq) > (:after_xact, :after_seq) AND (xact, seq) <= (:xact, :seq)
GROUP BY hour, action, kind
ON CONFLICT (hour, action, decision) DO UPDATE SET
    events = h.events + excluded.events, things = h.things + excluded.things,
    last_epoch = excluded.last_epoch, last_xact = excluded.last_xact, last_seq = excluded.last_seq
""")


class HourCounts:
    """One worker's share of the counting."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions

    async def run(self) -> None:
        """Count now and then until cancelled; a database that is away is tried again."""
        while True:
            await asyncio.sleep(COUNT_EVERY_S * _spread.uniform(0.5, 1.0))
            try:
                while await self.round():
                    pass
            except (Unavailable, SQLAlchemyError, *OUT_OF_REACH):
                # Others say that the database is away; what is not counted stays so.
                continue
            except Exception as error:  # noqa: BLE001
                # Whatever it is, it must not end the loop.
                log_fault(_log, "counting the audit trail", error, logging.WARNING)

    async def round(self) -> bool:
        """Count the next events, if nobody else is at it; whether there were any."""
        async with self._sessions() as session:
            mine = select(AuditRollup).with_for_update(skip_locked=True)
            note = (await session.execute(mine)).scalar_one_or_none()
            end = None if note is None else await _next_end(session, (note.epoch, note.xact, note.seq))
            if note is None or end is None:
                return False
            epoch, xact, seq = end
            # In a later epoch from its beginning.
            after = (note.xact, note.seq) if note.epoch == epoch else (-1, -1)
            values = {"epoch": epoch, "after_xact": after[0], "after_seq": after[1], "xact": xact, "seq": seq}
            await session.execute(_COUNT, values)
            note.epoch, note.xact, note.seq = end
            await session.commit()
        return True


async def forget_hours(owner_url: str, *, keep: timedelta, now: datetime) -> int:
    """Delete the counts of the months whose events are dropped; how many rows there were.

    Raises ``asyncpg.PostgresError`` or ``OSError`` when the database cannot do it.
    """
    connection = await asyncpg.connect(plain_url(owner_url), timeout=10)
    try:
        gone = "DELETE FROM audit_hours WHERE hour < date_trunc('month', $1::timestamptz, 'UTC')"
        return int((await connection.execute(gone, now - keep)).rpartition(" ")[2])
    finally:
        await connection.close()


async def _next_end(session: AsyncSession, after: queries.Position) -> queries.Position | None:
    """The position of the last event to be counted now, of one epoch; None when there is nothing new."""
    end = (await session.execute(queries.window_end(_EVERYTHING, after, AT_ONCE))).one_or_none()
    if end is not None:
        return (after[0], end.xact, end.seq)
    following = (await session.execute(queries.next_epoch(after))).scalar_one()
    if following is None:
        return None
    end = (await session.execute(queries.window_end(_EVERYTHING, (following, -1, -1), AT_ONCE))).one_or_none()
    return None if end is None else (following, end.xact, end.seq)
