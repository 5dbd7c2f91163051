"""Count audit events by hour: keep the counts for charts up to date, and answer queries with them.

A query adds the tail that is not counted yet. Each event is counted exactly once: hours are counted in commit order, in
one transaction with the position that was reached. Every worker tries; one locks that row, and the others skip.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.engine import delete_rows
from app.db.jobs import Periodic
from app.domain.errors import Malformed
from app.features.audit import schemas
from app.features.audit.queries import RESULT, find_named_ids, next_window
from app.features.audit.reading import decision_of, find
from app.models.audit import AuditEvent, AuditRollup

TAIL = 50_000
"""Maximum of uncounted events that a query counts; counting lags by seconds."""
MAX_MATCHING = 1_000
"""Maximum of events that a query counts for filters that the hourly counts do not have."""
_HOUR = timedelta(hours=1)
_FIRST_YEAR = 2000
_USUAL = timedelta(days=1)
_COLUMNS = "time, action, decision, event_count"

# One statement, and so one snapshot: an event is either counted or in the tail. Epochs are compared by equality, so
# that the index is scanned and nothing is sorted.
_COUNTS = text(f"""
WITH reached AS MATERIALIZED (SELECT epoch, xact, seq FROM audit_rollup),
tail AS MATERIALIZED (
    (SELECT {_COLUMNS} FROM audit_events
        WHERE epoch = (SELECT epoch FROM reached)
            AND (xact, seq) > ((SELECT xact FROM reached), (SELECT seq FROM reached))
        ORDER BY epoch, xact, seq LIMIT :tail)
    UNION ALL
    (SELECT {_COLUMNS} FROM audit_events WHERE epoch > (SELECT epoch FROM reached)
        ORDER BY epoch, xact, seq LIMIT :tail)
),
counted AS (
    SELECT hour, action, decision, events, things FROM audit_hours WHERE hour >= :since AND hour < :until
    UNION ALL
    SELECT date_trunc('hour', time, 'UTC'), action, coalesce(decision, ''), 1, coalesce(event_count, 1) FROM tail
        WHERE time >= :since AND time < :until
)
SELECT hour, decision, sum(events)::bigint AS events, sum(things)::bigint AS things,
    (SELECT count(*) FROM tail) AS tail
FROM counted
WHERE action <> '{RESULT}' AND (cardinality(CAST(:actions AS text[])) = 0 OR action = ANY (:actions))
    AND (cardinality(CAST(:decisions AS text[])) = 0 OR decision = ANY (:decisions))
GROUP BY hour, decision
UNION ALL SELECT NULL, '', 0, 0, count(*) FROM tail
""")  # noqa: S608 - constants


async def count_hours(
    session: AsyncSession, query: schemas.AuditStatsQuery, now: datetime
) -> schemas.AuditStatsView:
    """Count whole hours. Raises ``Malformed`` (``range_too_wide``)."""
    since, until = _whole_hours(query, now)
    values: dict[str, Any] = {"since": since, "until": until, "tail": TAIL}
    values |= {"actions": query.action, "decisions": query.decision}
    rows = (await session.execute(_COUNTS, values)).all()
    counted = ((row.hour, row.decision, row.events, row.things) for row in rows)
    return _view(since, until, counted, is_complete=all(row.tail < TAIL for row in rows))


async def count_matching(
    session: AsyncSession, query: schemas.AuditQuery, now: datetime
) -> schemas.AuditStatsView:
    """Count by hour with any filters, over the newest ``MAX_MATCHING`` matching events, found as in a list.
    ``is_complete`` is false if there are more. Raises ``Malformed``."""
    since, until = _whole_hours(schemas.AuditStatsQuery(since=query.since, until=query.until), now)
    list_query = query.model_copy(update={"limit": MAX_MATCHING, "cursor": None})
    rows, following = await find(session, list_query, await find_named_ids(session, query), None)
    events: list[AuditEvent] = [row[0] for row in rows]
    counted = ((_floor(event.time), event.decision, 1, event.event_count or 1) for event in events)
    return _view(since, until, counted, is_complete=following is None)


def _view(
    since: datetime,
    until: datetime,
    counted: Iterable[tuple[datetime, str | None, int, int]],
    is_complete: bool,
) -> schemas.AuditStatsView:
    """Sum up counts, each with its hour, its decision, and the numbers of events and of things."""
    hours = {since + _HOUR * n: _none() for n in range((until - since) // _HOUR)}
    total = _none()
    for hour, stored, events, things in counted:
        if hour not in hours:
            continue
        decision = decision_of(stored)
        for counts in (hours[hour], total):
            counts["events"] += events
            counts["count"] += things
            if decision is not None:
                counts[decision] += things
    return schemas.AuditStatsView(
        since=since,
        until=until,
        hours=[schemas.AuditHourCounts(hour=hour, **counts) for hour, counts in hours.items()],
        total=schemas.AuditCounts(**total),
        is_complete=is_complete,
    )


def _whole_hours(query: schemas.AuditStatsQuery, now: datetime) -> tuple[datetime, datetime]:
    if any(time is not None and time.year < _FIRST_YEAR for time in (query.since, query.until)):
        raise Malformed(f"Nothing was recorded before {_FIRST_YEAR}: give a later time.")
    until = _floor(min(query.until or now, now) - timedelta(microseconds=1)) + _HOUR
    since = until - _USUAL if query.since is None else _floor(query.since)
    if until - since > schemas.MAX_RANGE + _HOUR:
        raise Malformed("Counts cover at most 31 days: give since and until.", code="range_too_wide")
    if since >= until:
        raise Malformed("There is no full hour between since and now: give an earlier time.")
    return since, until


def _floor(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _none() -> dict[str, int]:
    return dict.fromkeys(schemas.AuditCounts.model_fields, 0)


AT_ONCE = 20_000
"""Events per transaction. Readers stop at the oldest open transaction, so it must be short."""
_EVERYTHING = schemas.AuditFilters()
_COUNT = text("""
WITH counted AS (
    SELECT date_trunc('hour', time, 'UTC') AS hour, action, coalesce(decision, '') AS kind, count(*) AS events,
        sum(coalesce(event_count, 1)) AS things, min(ARRAY[xact, seq]) AS first, max(ARRAY[xact, seq]) AS last
    FROM audit_events
    WHERE epoch = :epoch AND (xact, seq) > (:after_xact, :after_seq) AND (xact, seq) <= (:xact, :seq)
    GROUP BY hour, action, kind
), written AS (
    INSERT INTO audit_hours AS h (
        hour, action, decision, events, things, first_epoch, first_xact, first_seq, last_epoch, last_xact, last_seq
    )
    SELECT hour, action, kind, events, things, :epoch, first[1], first[2], :epoch, last[1], last[2] FROM counted
    ON CONFLICT (hour, action, decision) DO UPDATE SET
        events = h.events + excluded.events, things = h.things + excluded.things,
        last_epoch = excluded.last_epoch, last_xact = excluded.last_xact, last_seq = excluded.last_seq
)
SELECT coalesce(sum(events), 0)::int FROM counted
""")
PAUSE_S = 0.5
"""The pause after a window that was not full. Without it, a steady flow of events would be counted one by one."""


class HourCounts(Periodic):
    """The counting of events by one worker."""

    name = "counting audit events"
    every_s = 5.0

    async def round(self) -> None:
        """Count all new events, unless another worker does."""
        while counted := await self.count():
            if counted < AT_ONCE:
                await asyncio.sleep(PAUSE_S)

    async def count(self) -> int:
        """Count the next events, unless another worker does; return how many there were."""
        async with self._sessions() as session:
            mine = select(AuditRollup).with_for_update(skip_locked=True)
            note = (await session.execute(mine)).scalar_one_or_none()
            if note is None:
                return 0
            window = await next_window(session, _EVERYTHING, (note.epoch, note.xact, note.seq), AT_ONCE)
            if window is None:
                return 0
            (_, after_xact, after_seq), (epoch, xact, seq) = window
            part = {
                "epoch": epoch,
                "after_xact": after_xact,
                "after_seq": after_seq,
                "xact": xact,
                "seq": seq,
            }
            counted: int = (await session.execute(_COUNT, part)).scalar_one()
            note.epoch, note.xact, note.seq = epoch, xact, seq
            await session.commit()
        return counted


async def forget_hours(owner_url: str, *, keep: timedelta, now: datetime) -> int:
    """Delete the counts of months whose events are dropped; return the number of rows. Raises ``DRIVER_FAULTS``."""
    statement = "DELETE FROM audit_hours WHERE hour < date_trunc('month', $1::timestamptz, 'UTC')"
    return await delete_rows(owner_url, statement, now - keep)
