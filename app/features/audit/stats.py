"""How many events there were, by the hour: from what is counted already, and the rest of the trail counted at once."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, DateTime, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Malformed
from app.features.audit.newest import find
from app.features.audit.queries import RESULT
from app.features.audit.reading import named_in
from app.features.audit.schemas import WIDEST_RANGE, AuditQuery
from app.features.audit.shown import decision_of
from app.features.audit.stats_schemas import AuditCounts, AuditHourCounts, AuditStatsQuery, AuditStatsView

TAIL = 50_000
"""So many events that are not counted by the hour yet are counted at once; counting lags by seconds."""
MAX_MATCHING = 1_000
"""So many events are counted at once of what filters leave that hours are not counted by."""
_HOUR = timedelta(hours=1)
_FIRST_YEAR = 2000
_USUAL = timedelta(days=1)
_COLUMNS = "time, action, decision, event_count"
# One statement, and so one snapshot: an event is either among the counted or after them. Epochs are told apart by
# equality, so that the index is walked and nothing is sorted.
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
WHERE action <> '{RESULT}' AND (cardinality(:actions) = 0 OR action = ANY (:actions))
    AND (cardinality(:decisions) = 0 OR decision = ANY (:decisions))
GROUP BY hour, decision
UNION ALL SELECT NULL, '', 0, 0, count(*) FROM tail
""").bindparams(  # noqa: S608 - constants of ours
    bindparam("since", type_=DateTime(timezone=True)),
    bindparam("until", type_=DateTime(timezone=True)),
    bindparam("actions", type_=ARRAY(Text)),
    bindparam("decisions", type_=ARRAY(Text)),
)


async def count_hours(session: AsyncSession, query: AuditStatsQuery, now: datetime) -> AuditStatsView:
    """The counts of whole hours. Raises ``Malformed`` (``range_too_wide``)."""
    since, until = _whole_hours(query, now)
    values: dict[str, Any] = {"since": since, "until": until, "tail": TAIL}
    values |= {"actions": query.action, "decisions": query.decision}
    rows = (await session.execute(_COUNTS, values)).all()
    counts = {since + _HOUR * n: _none() for n in range((until - since) // _HOUR)}
    for row in rows:
        if row.hour in counts:
            _add(counts[row.hour], row)
    return _view(since, until, counts, is_complete=all(row.tail < TAIL for row in rows))


async def count_matching(session: AsyncSession, query: AuditQuery, now: datetime) -> AuditStatsView:
    """The counts of what filters leave that hours are not counted by: of the newest ``MAX_MATCHING`` events, looked
    for as a list is. ``is_complete`` is false where there are more. Raises ``Malformed``."""
    since, until = _whole_hours(AuditStatsQuery(since=query.since, until=query.until), now)
    wanted = query.model_copy(update={"limit": MAX_MATCHING, "cursor": None})
    rows, following = await find(session, wanted, await named_in(session, query), None)
    counts = {since + _HOUR * n: _none() for n in range((until - since) // _HOUR)}
    for row in rows:
        event = row[0]
        hour = _floor(event.time)
        if hour in counts:
            _add(counts[hour], _Counted(event.decision or "", 1, event.event_count or 1))
    return _view(since, until, counts, is_complete=following is None)


@dataclass(frozen=True, slots=True)
class _Counted:
    decision: str
    events: int
    things: int


def _view(
    since: datetime, until: datetime, counts: dict[datetime, dict[str, int]], *, is_complete: bool
) -> AuditStatsView:
    total = _none()
    for each in counts.values():
        for name, value in each.items():
            total[name] += value
    return AuditStatsView(
        since=since,
        until=until,
        hours=[AuditHourCounts(hour=hour, **each) for hour, each in counts.items()],
        total=AuditCounts(**total),
        is_complete=is_complete,
    )


def _whole_hours(query: AuditStatsQuery, now: datetime) -> tuple[datetime, datetime]:
    if any(time is not None and time.year < _FIRST_YEAR for time in (query.since, query.until)):
        raise Malformed(f"Nothing was recorded before {_FIRST_YEAR}: give a later time.")
    until = _floor(min(query.until or now, now) - timedelta(microseconds=1)) + _HOUR
    since = until - _USUAL if query.since is None else _floor(query.since)
    if until - since > WIDEST_RANGE + _HOUR:
        raise Malformed("Counts are of at most 31 days: give since and until.", code="range_too_wide")
    if since >= until:
        raise Malformed("There is no hour between since and now: give an earlier one.")
    return since, until


def _floor(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _none() -> dict[str, int]:
    return dict.fromkeys(AuditCounts.model_fields, 0)


def _add(counts: dict[str, int], row: Any) -> None:
    counts["events"] += row.events
    counts["count"] += row.things
    decision = decision_of(row.decision)
    if decision is not None:
        counts[decision] += row.things
