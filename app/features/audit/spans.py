"""Where a span of time lies in the log, which is ordered by commits: so that nobody walks through what is outside.

The counted hours know their first and last events. What lies before an hour's first one, or between its last one and
the end of what is counted, need not be read; what is not counted yet is read whole.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import DateTime, Interval, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.audit.queries import Position
from app.features.audit.schemas import AuditFilters

# An event is written a moment before its transaction commits, and so hours overlap a little in the log; the slack also
# covers a clock that was set back.
_SLACK = timedelta(days=1)
_SPAN = text("""
WITH within AS (
    SELECT * FROM audit_hours
    WHERE (CAST(:since AS timestamptz) IS NULL OR hour >= date_trunc('hour', CAST(:since AS timestamptz), 'UTC'))
        AND (CAST(:until AS timestamptz) IS NULL OR hour < :until)
)
SELECT reached.epoch, reached.xact, reached.seq,
    first.first_epoch, first.first_xact, first.first_seq, last.last_epoch, last.last_xact, last.last_seq
FROM audit_rollup reached
LEFT JOIN LATERAL (
    SELECT first_epoch, first_xact, first_seq FROM within
    WHERE hour <= (SELECT hour FROM within ORDER BY hour LIMIT 1) + :slack
    ORDER BY first_epoch, first_xact, first_seq LIMIT 1
) first ON true
LEFT JOIN LATERAL (
    SELECT last_epoch, last_xact, last_seq FROM within
    WHERE hour >= (SELECT hour FROM within ORDER BY hour DESC LIMIT 1) - CAST(:slack AS interval)
    ORDER BY last_epoch DESC, last_xact DESC, last_seq DESC LIMIT 1
) last ON true
""").bindparams(
    bindparam("since", type_=DateTime(timezone=True)),
    bindparam("until", type_=DateTime(timezone=True)),
    bindparam("slack", type_=Interval),
)


@dataclass(frozen=True, slots=True)
class Span:
    """Where a span of time lies: what is counted of it from ``first`` to ``last``, and else after ``counted``."""

    counted: Position
    first: Position | None
    last: Position | None


async def span_of(session: AsyncSession, query: AuditFilters) -> Span | None:
    """The span that a query asks for; None when it asks for any time."""
    if query.since is None and query.until is None:
        return None
    values = {"since": query.since, "until": query.until, "slack": _SLACK}
    row = (await session.execute(_SPAN, values)).one()
    counted: Position = (row.epoch, row.xact, row.seq)
    if row.first_epoch is None:
        return Span(counted, None, None)
    first: Position = (row.first_epoch, row.first_xact, row.first_seq)
    return Span(counted, first, (row.last_epoch, row.last_xact, row.last_seq))


async def skip(session: AsyncSession, query: AuditFilters, after: Position) -> Position:
    """A position to read on from in the place of ``after``: nothing between them is in the query's span of time."""
    span = await span_of(session, query)
    if span is None:
        return after
    if span.first is None or span.last is None or after >= span.last:
        return max(after, span.counted)
    epoch, xact, seq = span.first
    return max(after, (epoch, xact, seq - 1))
