"""SQL over the audit trail: calls with their outcomes, filters, and the order of commits.

Where a span of time lies in the log, which is ordered by commits: so that nobody walks through what is outside.

The counted hours know their first and last events. What lies before an hour's first one, or between its last one and
the end of what is counted, need not be read; what is not counted yet is read whole.

How many calls somebody made of late, up to a number: never a count of everything.

Whether a token has been used yet, for whoever gave it to somebody and waits.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    DateTime,
    Interval,
    Select,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    false,
    func,
    or_,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlalchemy.sql.expression import cast, literal, literal_column
from sqlmodel import col

from app.features.audit.schemas import AuditFilters
from app.models.audit import AuditClient, AuditEvent, LogEpoch, WorkerLease

RESULT = "tool.result"
LEASE_FRESH = timedelta(seconds=30)

# Rows of one call lie close in time; the slack covers a clock that was set back. It lets partitions be pruned.
_CLOCK_SLACK = timedelta(days=1)
Position = tuple[int, int, int]
Place = tuple[int, int]
"""Where an event is in its epoch: transaction and sequence number."""
_MADE_REQUEST_ID = re.compile("req_([0-9a-f]{32})")
"""A request's id that was made and not given: it may be that of its first event, which then does not repeat it."""


@dataclass(frozen=True, slots=True)
class Named:
    """The ids that the names in a query stand for today: of ``q``, ``actor_name`` and ``server_slug``, where given."""

    anything: list[UUID] | None = None
    actors: list[UUID] | None = None
    servers: list[UUID] | None = None


_result = aliased(AuditEvent, name="result")
_call = aliased(AuditEvent, name="call")
_lease = WorkerLease
_client = AuditClient


def _interval(value: timedelta) -> ColumnElement[Any]:
    return cast(literal(value), INTERVAL)


def _last_result(event: Any) -> Any:
    """The outcome row of a call that was written last: a true outcome that comes late wins."""
    return (
        select(col(_result.outcome).label("outcome"), col(_result.duration_ms).label("duration_ms"))
        .where(
            col(_result.call_id) == event.id,
            col(_result.action) == RESULT,
            col(_result.time) >= event.time - _interval(_CLOCK_SLACK),
        )
        .order_by(col(_result.epoch).desc(), col(_result.xact).desc(), col(_result.seq).desc())
        .limit(1)
        .lateral("outcome_row")
    )


def _folded(event: Any) -> tuple[Select[Any], ColumnElement[str | None], ColumnElement[int | None]]:
    """Events with their client, calls with their outcome; and the expressions of that outcome and of its duration.

    A call without an outcome runs while its worker's lease is fresh, and is unknown afterwards.
    """
    last = _last_result(event)
    # mutation: outcome_missing
    running = case(
        (col(_lease.renewed_at) > func.clock_timestamp() - _interval(LEASE_FRESH), "in_flight"),
        else_="unknown",
    )
    outcome = case(
        (event.outcome.is_not(None), event.outcome),
        (event.decision == "deny", "denied"),
        (event.decision == "require_approval", "not_forwarded"),
        (last.c.outcome.is_not(None), last.c.outcome),
        (and_(event.decision == "allow", event.worker_id.is_not(None)), running),
        else_=None,
    )
    duration = func.coalesce(event.duration_ms, last.c.duration_ms)
    statement = (
        select(event, _client, outcome.label("outcome"), duration.label("duration_ms"))
        .select_from(event)
        .outerjoin(last, true())
        .outerjoin(_lease, col(_lease.worker_id) == event.worker_id)
        .outerjoin(_client, col(_client.id) == event.client_id)
    )
    return statement, outcome, duration


def newest(
    query: AuditFilters, named: Named, within: Sequence[ColumnElement[bool]], rows: int
) -> Select[Any]:
    """At most ``rows`` calls and other events, newest first; outcome rows are in their calls.

    The rows are chosen first and joined afterwards, unless it is their outcome that chooses them.
    """
    conditions = [
        col(AuditEvent.action) != RESULT,
        *within,
        *_time_range(query),
        *_matches(AuditEvent, query, named),
    ]
    if query.reads_results:
        statement, outcome, duration = _folded(AuditEvent)
        statement = statement.where(*conditions, *_ends_as(query, outcome, duration))
        return statement.order_by(*_newest_first(AuditEvent)).limit(rows)
    chosen = select(AuditEvent).where(*conditions).order_by(*_newest_first(AuditEvent)).limit(rows)
    event = aliased(AuditEvent, chosen.subquery("chosen"))
    statement, _, _ = _folded(event)
    return statement.order_by(*_newest_first(event))


def between(epoch: int, first: Place | None, before: Place | None) -> list[ColumnElement[bool]]:
    """From a place of an epoch on, to before another; None: from its beginning, to its end.

    Epochs are told apart by equality: a comparison of whole positions would be estimated by the epoch alone,
    which nearly all rows share, and make PostgreSQL sort the log instead of walking an index of it.
    """
    conditions = [col(AuditEvent.epoch) == epoch]
    if first is not None:
        conditions.append(_place(AuditEvent) >= tuple_(*first))
    if before is not None:
        conditions.append(_place(AuditEvent) < tuple_(*before))
    return conditions


def window_start(within: Sequence[ColumnElement[bool]], rows: int) -> Select[Any]:
    """(xact, seq) of the earliest of the ``rows`` newest events that there are within."""
    window = (
        select(col(AuditEvent.xact), col(AuditEvent.seq))
        .where(*within)
        .order_by(*_newest_first(AuditEvent))
        .limit(rows)
        .subquery()
    )
    return select(window.c.xact, window.c.seq).order_by(window.c.xact, window.c.seq).limit(1)


def epoch_before(epoch: int | None) -> Select[Any]:
    """The newest epoch that holds events, of those before one, or None."""
    older = [] if epoch is None else [col(AuditEvent.epoch) < epoch]
    return select(func.max(col(AuditEvent.epoch))).where(*older)


def next_epoch(after: Position) -> Select[Any]:
    """The next epoch that holds events, or None; none that was not opened yet, whatever somebody has put there."""
    return select(func.min(col(AuditEvent.epoch))).where(
        col(AuditEvent.epoch) > after[0], col(AuditEvent.epoch) <= _present_epoch()
    )


def horizon() -> Select[Any]:
    """(epoch, xact) up to which the log can be read now: all that is above comes later to whoever reads it in order."""
    return select(_present_epoch().label("epoch"), (_oldest_open() - 1).label("xact"))


def _present_epoch() -> Any:
    """The epoch that is written now; the newest that is on record, before a restored copy has opened its own."""
    return select(
        func.coalesce(literal_column("scopegate_epoch()"), func.max(col(LogEpoch.epoch)), 0)
    ).scalar_subquery()


def _oldest_open() -> ColumnElement[Any]:
    return literal_column("(SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint)")


def window_end(query: AuditFilters, after: Position, rows: int, until: Position | None = None) -> Select[Any]:
    """(xact, seq) of the last of the next ``rows`` events of an epoch that no open transaction can precede, none of
    them later than ``until``.

    A transaction that is still open may commit a row that sorts before finished ones, so nothing at or above the
    oldest open transaction is read. Older epochs have no open transactions and are read whole.
    """
    current: ColumnElement[Any] = literal_column("(SELECT scopegate_epoch())")
    window = (
        select(col(AuditEvent.xact), col(AuditEvent.seq))
        .where(
            col(AuditEvent.epoch) == after[0],
            _place(AuditEvent) > tuple_(after[1], after[2]),
            or_(literal(after[0]).is_distinct_from(current), col(AuditEvent.xact) < _oldest_open()),
            *_not_beyond(after, until),
            *_time_range(query),
        )
        .order_by(col(AuditEvent.epoch), col(AuditEvent.xact), col(AuditEvent.seq))
        .limit(rows)
        .subquery()
    )
    return select(window.c.xact, window.c.seq).order_by(window.c.xact.desc(), window.c.seq.desc()).limit(1)


def _not_beyond(after: Position, until: Position | None) -> list[ColumnElement[bool]]:
    if until is None or after[0] < until[0]:
        return []
    return [false()] if after[0] > until[0] else [_place(AuditEvent) <= tuple_(until[1], until[2])]


def ascending(query: AuditFilters, named: Named, after: Position, end: Position, rows: int) -> Select[Any]:
    """Events of a window as they were written: outcomes are items of their own, found by what their call matches.

    An outcome whose call was never written is left out.
    """
    outcome = case(
        (and_(col(AuditEvent.outcome).is_(None), col(AuditEvent.decision) == "deny"), "denied"),
        else_=col(AuditEvent.outcome),
    )
    is_result = col(AuditEvent.action) == RESULT
    matches = and_(~is_result, *_matches(AuditEvent, query, named))
    statement = select(
        AuditEvent, _client, outcome.label("outcome"), col(AuditEvent.duration_ms).label("duration_ms")
    ).select_from(AuditEvent)
    if not query.action or RESULT in query.action:
        # Asked for each result by key: planned as a join, it would read all calls for a window of the log.
        call = (
            select(true())
            .where(
                col(_call.id) == col(AuditEvent.call_id),
                col(_call.time) <= col(AuditEvent.time) + _interval(_CLOCK_SLACK),
                *_matches(_call, query, named, skip={"action"}),
            )
            .limit(1)
            .scalar_subquery()
        )
        matches = or_(and_(is_result, call), matches)
    statement = statement.outerjoin(_client, col(_client.id) == col(AuditEvent.client_id)).where(
        col(AuditEvent.epoch) == after[0],
        _place(AuditEvent) > tuple_(after[1], after[2]),
        _place(AuditEvent) <= tuple_(end[1], end[2]),
        *_time_range(query),
        matches,
        *_ends_as(query, outcome, col(AuditEvent.duration_ms)),
    )
    return statement.order_by(col(AuditEvent.xact), col(AuditEvent.seq)).limit(rows)


def by_id(id: UUID) -> Select[Any]:
    """Read one audit event, a call with its outcome."""
    statement, _, _ = _folded(AuditEvent)
    return statement.where(col(AuditEvent.id) == id)


def _place(event: Any) -> Any:
    return tuple_(event.xact, event.seq)


def _newest_first(event: Any) -> list[ColumnElement[Any]]:
    return [event.epoch.desc(), event.xact.desc(), event.seq.desc()]


def _time_range(query: AuditFilters) -> list[ColumnElement[bool]]:
    conditions = []
    if query.since is not None:
        conditions.append(col(AuditEvent.time) >= query.since)
    if query.until is not None:
        conditions.append(col(AuditEvent.time) < query.until)
    return conditions


def _is_in(column: Any, values: list[Any]) -> list[ColumnElement[bool]]:
    return [col(column).in_(values)] if values else []


def _ends_as(query: AuditFilters, outcome: Any, duration: Any) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [outcome.in_(query.outcome)] if query.outcome else []
    if query.duration_ms_min is not None:
        conditions.append(duration >= query.duration_ms_min)
    if query.duration_ms_max is not None:
        conditions.append(duration <= query.duration_ms_max)
    return conditions


def _is_of_request(event: Any, request_ids: list[str]) -> ColumnElement[bool]:
    made = [found for found in map(_MADE_REQUEST_ID.fullmatch, request_ids) if found is not None]
    named = col(event.request_id).in_(request_ids)
    return or_(named, col(event.id).in_([UUID(hex=found[1]) for found in made])) if made else named


def _matches(
    event: Any, query: AuditFilters, named: Named, skip: set[str] | None = None
) -> list[ColumnElement[bool]]:
    """The filters over an event's own columns, and over its client."""
    conditions: list[ColumnElement[bool]] = []
    columns = (
        "id", "action", "decision", "reason_code", "actor_id", "actor_type", "on_behalf_of", "token_id", "server_id",
        "tool", "object_id", "trace_id",
    )  # fmt: skip
    for name in columns:
        if name not in (skip or ()):
            conditions += _is_in(getattr(event, name), getattr(query, name))
    if query.request_id:
        conditions.append(_is_of_request(event, query.request_id))
    conditions += _is_in(event.arguments_digest, [bytes.fromhex(digest) for digest in query.arguments_digest])
    for column, policies in (
        (event.policy_ids, query.policy_id),
        (event.observed_policy_ids, query.observed_policy_id),
    ):
        if policies:
            conditions.append(col(column).op("&&", is_comparison=True)(literal(policies, ARRAY(Uuid))))
    if query.changes:
        conditions.append(
            col(event.changes).op("?|", is_comparison=True)(literal(query.changes, ARRAY(Text)))
        )
    of_client = _client_matches(query)
    if of_client:
        conditions.append(col(event.client_id).in_(select(col(AuditClient.id)).where(*of_client)))
    return conditions + _names(event, named)


def _client_matches(query: AuditFilters) -> list[ColumnElement[bool]]:
    return [
        *_is_in(AuditClient.ip, query.client_ip),
        *_is_in(AuditClient.name, query.client_name),
        *_is_in(AuditClient.version, query.client_version),
        *_is_in(AuditClient.user_agent, query.client_user_agent),
    ]


def _names(event: Any, named: Named) -> list[ColumnElement[bool]]:
    conditions = []
    if named.anything is not None:
        places = (event.actor_id, event.on_behalf_of, event.server_id, event.object_id)
        conditions.append(or_(false(), *(col(place).in_(named.anything) for place in places)))
    if named.actors is not None:
        conditions.append(col(event.actor_id).in_(named.actors))
    if named.servers is not None:
        conditions.append(col(event.server_id).in_(named.servers))
    return conditions


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


async def count_calls(session: AsyncSession, actors: Collection[UUID], span: timedelta, most: int) -> int:
    """The calls of tools that these identities asked for in the last ``span``, admitted or not; ``most`` at most."""
    if not actors:
        return 0
    query = AuditFilters(since=await session.scalar(select(func.now() - span)))
    # The index of actors goes by the order of commits: whoever called for years is not walked through.
    epoch, xact, _ = await skip(session, query, (0, 0, 0))
    chosen = (
        select(literal(1))
        .where(
            col(AuditEvent.actor_id) == any_(literal(list(actors), ARRAY(Uuid))),
            or_(
                col(AuditEvent.epoch) > epoch,
                and_(col(AuditEvent.epoch) == epoch, col(AuditEvent.xact) >= xact),
            ),
            col(AuditEvent.action) == "tool.call",
            col(AuditEvent.time) >= query.since,
        )
        .limit(most)
        .subquery()
    )
    return int(await session.scalar(select(func.count()).select_from(chosen)) or 0)


_CALL, _LIST = "tool.call", "tools.list"


@dataclass(frozen=True, slots=True)
class FirstUse:
    """How far it came: a call was allowed, or the latest was refused, or a client connected and has called nothing."""

    kind: Literal["called", "refused", "connected"]
    event_id: UUID
    time: datetime
    tool: str | None


async def first_use(session: AsyncSession, token_id: UUID) -> FirstUse | None:
    """The first allowed call of a token, or else what comes nearest to it; ``None`` before its first request."""
    of_token = select(AuditEvent).where(col(AuditEvent.token_id) == token_id)
    calls = of_token.where(col(AuditEvent.action) == _CALL)
    # In the order of their index.
    first, last = col(AuditEvent.xact).asc(), col(AuditEvent.xact).desc()
    for kind, query in (
        ("called", calls.where(col(AuditEvent.decision) == "allow").order_by(first)),
        ("refused", calls.order_by(last)),
        ("connected", of_token.where(col(AuditEvent.action) == _LIST).order_by(first)),
    ):
        event = await session.scalar(query.limit(1))
        if event is not None:
            return FirstUse(kind, event.id, event.time, event.tool)  # type: ignore[arg-type]
    return None
