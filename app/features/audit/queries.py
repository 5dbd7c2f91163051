"""SQL queries of the audit log: calls with their outcomes, filters, and commit order.

``span_of`` finds a span of time in the log, which is in commit order, so that nothing outside is read. The hourly
counts record their first and last events: what lies between hours need not be read, and what is not counted yet is read
whole.

``count_calls`` counts recent calls up to a maximum, and ``first_use`` finds out whether a token has been used yet.

``names_of`` and ``find_named_ids`` translate between ids and names: events hold only ids, so that a person can be
erased. Every other feature imports the audit log, so it reads the tables of names by SQL, not by import.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from app.db.rows import is_one_of
from app.features.audit.schemas import AuditFilters
from app.models.audit import AuditClient, AuditEvent, LogEpoch, WorkerLease

RESULT = "tool.result"
_LAST_IN_TRANSACTION = 2**63 - 1
LEASE_FRESH = timedelta(seconds=30)

# Rows of one call are close in time, so partitions can be pruned; the slack covers a clock that was set back.
_CLOCK_SLACK = timedelta(days=1)
Position = tuple[int, int, int]
Place = tuple[int, int]
"""The place of an event in its epoch: transaction and sequence number."""
Conditions = list[sa.ColumnElement[bool]]
_MADE_REQUEST_ID = re.compile("req_([0-9a-f]{32})")
"""A generated request id. It may be that of the request's first event, which then does not store it."""


@dataclass(frozen=True, slots=True)
class NamedIds:
    """The ids for the names in a query today: of ``q``, ``actor_name`` and ``server_slug``, if given."""

    anything: list[UUID] | None = None
    actors: list[UUID] | None = None
    servers: list[UUID] | None = None


_result = aliased(AuditEvent, name="result")
_call = aliased(AuditEvent, name="call")
_lease = WorkerLease
_client = AuditClient


def _interval(value: timedelta) -> sa.ColumnElement[Any]:
    return sa.cast(sa.literal(value), INTERVAL)


def _with_outcomes(
    event: Any,
) -> tuple[sa.Select[Any], sa.ColumnElement[str | None], sa.ColumnElement[int | None]]:
    """Select events with their client, and calls with their outcome; also the expressions of outcome and duration.

    A call without an outcome is running while its worker's lease is fresh, and unknown afterwards.
    """
    # The outcome row that was written last: a late but true outcome wins.
    last = (
        sa.select(col(_result.outcome).label("outcome"), col(_result.duration_ms).label("duration_ms"))
        .where(
            col(_result.call_id) == event.id,
            col(_result.action) == RESULT,
            col(_result.time) >= event.time - _interval(_CLOCK_SLACK),
        )
        .order_by(col(_result.epoch).desc(), col(_result.xact).desc(), col(_result.seq).desc())
        .limit(1)
        .lateral("outcome_row")
    )
    # mutation: outcome_missing
    running = sa.case(
        (col(_lease.renewed_at) > sa.func.clock_timestamp() - _interval(LEASE_FRESH), "in_flight"),
        else_="unknown",
    )
    outcome = sa.case(
        (event.outcome.is_not(None), event.outcome),
        (event.decision == "deny", "denied"),
        (event.decision == "require_approval", "not_forwarded"),
        (last.c.outcome.is_not(None), last.c.outcome),
        (sa.and_(event.decision == "allow", event.worker_id.is_not(None)), running),
        else_=None,
    )
    duration = sa.func.coalesce(event.duration_ms, last.c.duration_ms)
    statement = (
        sa.select(event, _client, outcome.label("outcome"), duration.label("duration_ms"))
        .select_from(event)
        .outerjoin(last, sa.true())
        .outerjoin(_lease, col(_lease.worker_id) == event.worker_id)
        .outerjoin(_client, col(_client.id) == event.client_id)
    )
    return statement, outcome, duration


def select_newest(query: AuditFilters, named: NamedIds, within: Conditions, rows: int) -> sa.Select[Any]:
    """Select at most ``rows`` calls and other events, newest first; outcome rows are part of their calls.

    The rows are limited first and joined afterwards, unless the filter is on their outcome.
    """
    conditions = [
        col(AuditEvent.action) != RESULT,
        *within,
        *_time_range(query),
        *_matches(AuditEvent, query, named),
    ]
    if query.reads_results:
        statement, outcome, duration = _with_outcomes(AuditEvent)
        statement = statement.where(*conditions, *_ends_as(query, outcome, duration))
        return statement.order_by(*_newest_first(AuditEvent)).limit(rows)
    chosen = sa.select(AuditEvent).where(*conditions).order_by(*_newest_first(AuditEvent)).limit(rows)
    event = aliased(AuditEvent, chosen.subquery("chosen"))
    statement, _, _ = _with_outcomes(event)
    return statement.order_by(*_newest_first(event))


def between(epoch: int, first: Place | None, before: Place | None) -> Conditions:
    """The range of an epoch from a place up to, but without, another; None is its beginning or its end.

    Epochs are compared by equality: the selectivity of a row comparison would be estimated by the epoch, which nearly
    all rows share, and PostgreSQL would sort the log instead of scanning an index.
    """
    conditions = [col(AuditEvent.epoch) == epoch]
    if first is not None:
        conditions.append(_place(AuditEvent) >= sa.tuple_(*first))
    if before is not None:
        conditions.append(_place(AuditEvent) < sa.tuple_(*before))
    return conditions


def window_start(within: Conditions, rows: int) -> sa.Select[Any]:
    """Select (xact, seq) of the earliest of the ``rows`` newest events in a range."""
    window = (
        sa.select(col(AuditEvent.xact), col(AuditEvent.seq))
        .where(*within)
        .order_by(*_newest_first(AuditEvent))
        .limit(rows)
        .subquery()
    )
    return sa.select(window.c.xact, window.c.seq).order_by(window.c.xact, window.c.seq).limit(1)


def epoch_before(epoch: int | None) -> sa.Select[Any]:
    """Select the newest epoch with events before a given one, or None."""
    older = [] if epoch is None else [col(AuditEvent.epoch) < epoch]
    return sa.select(sa.func.max(col(AuditEvent.epoch))).where(*older)


async def present(session: AsyncSession) -> Position:
    """The position before everything that cannot be read yet."""
    readable = sa.select(_present_epoch().label("epoch"), (_oldest_open() - 1).label("xact"))
    row = (await session.execute(readable)).one()
    return (row.epoch, row.xact, _LAST_IN_TRANSACTION)


def _present_epoch() -> Any:
    """The current epoch; until a restored copy has opened its own, the newest one in the log."""
    return sa.select(
        sa.func.coalesce(sa.literal_column("scopegate_epoch()"), sa.func.max(col(LogEpoch.epoch)), 0)
    ).scalar_subquery()


def _oldest_open() -> sa.ColumnElement[Any]:
    return sa.literal_column("(SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint)")


def window_end(
    query: AuditFilters, after: Position, rows: int, until: Position | None = None
) -> sa.Select[Any]:
    """Select (xact, seq) of the last of the next ``rows`` events of an epoch that no open transaction can precede, none
    later than ``until``.

    An open transaction may commit a row that sorts before finished ones, so nothing at or above the oldest open
    transaction is read. Older epochs have no open transactions and are read whole.
    """
    current: sa.ColumnElement[Any] = sa.literal_column("(SELECT scopegate_epoch())")
    window = (
        sa.select(col(AuditEvent.xact), col(AuditEvent.seq))
        .where(
            col(AuditEvent.epoch) == after[0],
            _place(AuditEvent) > sa.tuple_(after[1], after[2]),
            sa.or_(sa.literal(after[0]).is_distinct_from(current), col(AuditEvent.xact) < _oldest_open()),
            *_not_beyond(after, until),
            *_time_range(query),
        )
        .order_by(col(AuditEvent.epoch), col(AuditEvent.xact), col(AuditEvent.seq))
        .limit(rows)
        .subquery()
    )
    return sa.select(window.c.xact, window.c.seq).order_by(window.c.xact.desc(), window.c.seq.desc()).limit(1)


async def next_window(
    session: AsyncSession, query: AuditFilters, start: Position, width: int, until: Position | None = None
) -> tuple[Position, Position] | None:
    """The bounds of the next window, in one epoch: after the first position, up to the second; None at the end."""
    end = (await session.execute(window_end(query, start, width, until))).one_or_none()
    if end is None:
        # An epoch is complete once a later one holds events.
        epoch = col(AuditEvent.epoch)
        # Forged events of an unopened epoch do not count.
        later: Any = sa.select(sa.func.min(epoch)).where(epoch > start[0], epoch <= _present_epoch())
        following = (await session.execute(later)).scalar_one()
        if following is None:
            return None
        start = (following, -1, -1)
        end = (await session.execute(window_end(query, start, width, until))).one_or_none()
    return None if end is None else (start, (start[0], end.xact, end.seq))


def _not_beyond(after: Position, until: Position | None) -> Conditions:
    if until is None or after[0] < until[0]:
        return []
    return [sa.false()] if after[0] > until[0] else [_place(AuditEvent) <= sa.tuple_(until[1], until[2])]


def select_in_commit_order(
    query: AuditFilters, named: NamedIds, after: Position, end: Position, rows: int
) -> sa.Select[Any]:
    """Select the events of a window in commit order: outcomes are items of their own and match as their call does.

    An outcome whose call was never written is left out.
    """
    outcome = sa.case(
        (sa.and_(col(AuditEvent.outcome).is_(None), col(AuditEvent.decision) == "deny"), "denied"),
        else_=col(AuditEvent.outcome),
    )
    is_result = col(AuditEvent.action) == RESULT
    matches = sa.and_(~is_result, *_matches(AuditEvent, query, named))
    statement = sa.select(
        AuditEvent, _client, outcome.label("outcome"), col(AuditEvent.duration_ms).label("duration_ms")
    ).select_from(AuditEvent)
    if not query.action or RESULT in query.action:
        # Looked up by key for each result: planned as a join, it would read all calls for one window of the log.
        call = (
            sa.select(sa.true())
            .where(
                col(_call.id) == col(AuditEvent.call_id),
                col(_call.time) <= col(AuditEvent.time) + _interval(_CLOCK_SLACK),
                *_matches(_call, query, named, skip={"action"}),
            )
            .limit(1)
            .scalar_subquery()
        )
        matches = sa.or_(sa.and_(is_result, call), matches)
    statement = statement.outerjoin(_client, col(_client.id) == col(AuditEvent.client_id)).where(
        col(AuditEvent.epoch) == after[0],
        _place(AuditEvent) > sa.tuple_(after[1], after[2]),
        _place(AuditEvent) <= sa.tuple_(end[1], end[2]),
        *_time_range(query),
        matches,
        *_ends_as(query, outcome, col(AuditEvent.duration_ms)),
    )
    return statement.order_by(col(AuditEvent.xact), col(AuditEvent.seq)).limit(rows)


def select_by_id(id: UUID) -> sa.Select[Any]:
    """Select one audit event, a call with its outcome."""
    statement, _, _ = _with_outcomes(AuditEvent)
    return statement.where(col(AuditEvent.id) == id)


def _place(event: Any) -> Any:
    return sa.tuple_(event.xact, event.seq)


def _newest_first(event: Any) -> list[sa.ColumnElement[Any]]:
    return [event.epoch.desc(), event.xact.desc(), event.seq.desc()]


def _time_range(query: AuditFilters) -> Conditions:
    conditions = []
    if query.since is not None:
        conditions.append(col(AuditEvent.time) >= query.since)
    if query.until is not None:
        conditions.append(col(AuditEvent.time) < query.until)
    return conditions


def _is_in(column: Any, values: list[Any]) -> Conditions:
    return [col(column).in_(values)] if values else []


def _ends_as(query: AuditFilters, outcome: Any, duration: Any) -> Conditions:
    conditions: Conditions = [outcome.in_(query.outcome)] if query.outcome else []
    if query.duration_ms_min is not None:
        conditions.append(duration >= query.duration_ms_min)
    if query.duration_ms_max is not None:
        conditions.append(duration <= query.duration_ms_max)
    return conditions


def _matches(event: Any, query: AuditFilters, named: NamedIds, skip: set[str] | None = None) -> Conditions:
    """The filters on the columns of an event and of its client."""
    conditions: Conditions = []
    columns = (
        "id", "action", "decision", "reason_code", "actor_id", "actor_type", "on_behalf_of", "token_id", "server_id",
        "tool", "object_id", "trace_id",
    )  # fmt: skip
    for name in columns:
        if name not in (skip or ()):
            conditions += _is_in(getattr(event, name), getattr(query, name))
    if query.request_id:
        made = [UUID(hex=match[1]) for match in map(_MADE_REQUEST_ID.fullmatch, query.request_id) if match]
        conditions.append(sa.or_(col(event.request_id).in_(query.request_id), *_is_in(event.id, made)))
    conditions += _is_in(event.arguments_digest, [bytes.fromhex(digest) for digest in query.arguments_digest])
    for column, policies in (
        (event.policy_ids, query.policy_id),
        (event.observed_policy_ids, query.observed_policy_id),
    ):
        if policies:
            conditions.append(
                col(column).op("&&", is_comparison=True)(sa.literal(policies, sa.ARRAY(sa.Uuid)))
            )
    if query.changes:
        conditions.append(
            col(event.changes).op("?|", is_comparison=True)(sa.literal(query.changes, sa.ARRAY(sa.Text)))
        )
    of_client: Conditions = []
    for name in ("ip", "name", "version", "user_agent"):
        of_client += _is_in(getattr(AuditClient, name), getattr(query, f"client_{name}"))
    if of_client:
        conditions.append(col(event.client_id).in_(sa.select(col(AuditClient.id)).where(*of_client)))
    return conditions + _names(event, named)


def _names(event: Any, named: NamedIds) -> Conditions:
    conditions = []
    if named.anything is not None:
        places = (event.actor_id, event.on_behalf_of, event.server_id, event.object_id)
        conditions.append(sa.or_(sa.false(), *(col(place).in_(named.anything) for place in places)))
    if named.actors is not None:
        conditions.append(col(event.actor_id).in_(named.actors))
    if named.servers is not None:
        conditions.append(col(event.server_id).in_(named.servers))
    return conditions


# An event is written before its transaction commits, so hours overlap a little in the log; the slack also covers a
# clock that was set back.
_SLACK = timedelta(days=1)
_SPAN = sa.text("""
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
""")


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time in the log: counted events from ``first`` to ``last``, and all events after ``counted``."""

    counted: Position
    first: Position | None
    last: Position | None


async def span_of(session: AsyncSession, query: AuditFilters) -> Span | None:
    """Find the span for a query; None when the query has no time bounds."""
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
    """A position to continue from instead of ``after``: no event between them is in the query's span."""
    span = await span_of(session, query)
    if span is None:
        return after
    if span.first is None or span.last is None or after >= span.last:
        return max(after, span.counted)
    epoch, xact, seq = span.first
    return max(after, (epoch, xact, seq - 1))


async def count_calls(session: AsyncSession, actors: Collection[UUID], span: timedelta, limit: int) -> int:
    """Count the tool calls of these identities in the last ``span``, admitted or not; at most ``limit``."""
    if not actors:
        return 0
    query = AuditFilters(since=await session.scalar(sa.select(sa.func.now() - span)))
    # The index of actors is in commit order: without this, years of calls would be read.
    epoch, xact, _ = await skip(session, query, (0, 0, 0))
    chosen = (
        sa.select(sa.literal(1))
        .where(
            is_one_of(AuditEvent.actor_id, actors),
            sa.or_(
                col(AuditEvent.epoch) > epoch,
                sa.and_(col(AuditEvent.epoch) == epoch, col(AuditEvent.xact) >= xact),
            ),
            col(AuditEvent.action) == "tool.call",
            col(AuditEvent.time) >= query.since,
        )
        .limit(limit)
        .subquery()
    )
    return int(await session.scalar(sa.select(sa.func.count()).select_from(chosen)) or 0)


@dataclass(frozen=True, slots=True)
class FirstUse:
    """The state of a first use: a call was allowed, the latest was refused, or a client connected without a call."""

    kind: Literal["called", "refused", "connected"]
    event_id: UUID
    time: datetime
    tool: str | None


async def first_use(session: AsyncSession, token_id: UUID) -> FirstUse | None:
    """The first allowed call of a token, or the nearest thing to it; ``None`` before its first request."""
    of_token = sa.select(AuditEvent).where(col(AuditEvent.token_id) == token_id)
    calls = of_token.where(col(AuditEvent.action) == "tool.call")
    # In the order of their index.
    first, last = col(AuditEvent.xact).asc(), col(AuditEvent.xact).desc()
    for kind, query in (
        ("called", calls.where(col(AuditEvent.decision) == "allow").order_by(first)),
        ("refused", calls.order_by(last)),
        ("connected", of_token.where(col(AuditEvent.action) == "tools.list").order_by(first)),
    ):
        event = await session.scalar(query.limit(1))
        if event is not None:
            return FirstUse(kind, event.id, event.time, event.tool)  # type: ignore[arg-type]
    return None


_MAX_NAMES = 500
_NAMES = sa.text("""
SELECT id, coalesce(display_name, user_name) AS name FROM identities
    WHERE id = ANY(CAST(:ids AS uuid[])) AND erased_at IS NULL
UNION ALL SELECT id, name FROM service_accounts WHERE id = ANY(CAST(:ids AS uuid[]))
UNION ALL SELECT id, slug FROM servers WHERE id = ANY(CAST(:ids AS uuid[]))
UNION ALL SELECT id, name FROM groups WHERE id = ANY(CAST(:ids AS uuid[]))
UNION ALL SELECT id, name FROM policies WHERE id = ANY(CAST(:ids AS uuid[]))
UNION ALL SELECT id, name FROM tokens WHERE id = ANY(CAST(:ids AS uuid[]))
UNION ALL SELECT a.id, coalesce(i.display_name, i.user_name) FROM administrators a
    JOIN identities i ON i.id = a.identity_id AND i.erased_at IS NULL WHERE a.id = ANY(CAST(:ids AS uuid[]))
UNION ALL SELECT id, 'break-glass administrator' FROM break_glass_sessions WHERE id = ANY(CAST(:ids AS uuid[]))
""")
_NAMED = """
WITH people AS MATERIALIZED (
    SELECT id FROM identities WHERE erased_at IS NULL
        AND (user_name ILIKE :pattern OR display_name ILIKE :pattern OR email ILIKE :pattern) {} LIMIT :limit
)
SELECT id FROM people
UNION ALL SELECT id FROM service_accounts WHERE name ILIKE :pattern
UNION ALL SELECT id FROM servers WHERE slug ILIKE :pattern OR name ILIKE :pattern
UNION ALL SELECT id FROM administrators WHERE identity_id IN (SELECT id FROM people)
LIMIT :limit
"""

# As it is indexed; fewer than three letters cannot be looked up.
_LOOKED_UP = """AND scopegate_trigrams(
    user_name || ' ' || coalesce(display_name, '') || ' ' || coalesce(email, '')
) @> scopegate_trigrams(:part)"""
_NAMED_BY_LETTERS, _NAMED_BY_FEW = sa.text(_NAMED.format(_LOOKED_UP)), sa.text(_NAMED.format(""))
_FEW_LETTERS = 2
_ACTORS = sa.text("""
WITH wanted AS (SELECT lower(name) FROM unnest(CAST(:names AS text[])) AS name)
SELECT id FROM identities
    WHERE erased_at IS NULL AND lower(coalesce(display_name, user_name)) IN (SELECT * FROM wanted)
UNION ALL SELECT id FROM service_accounts WHERE lower(name) IN (SELECT * FROM wanted)
UNION ALL SELECT a.id FROM administrators a JOIN identities i ON i.id = a.identity_id
    WHERE i.erased_at IS NULL AND lower(coalesce(i.display_name, i.user_name)) IN (SELECT * FROM wanted)
LIMIT :limit
""")
_SERVERS = sa.text("SELECT id FROM servers WHERE slug = ANY(CAST(:slugs AS text[])) LIMIT :limit")


async def names_of(session: AsyncSession, ids: Iterable[UUID | None]) -> dict[UUID, str]:
    """The current names of actors, groups, policies and tokens, and the slugs of servers."""
    id_list = sorted({id for id in ids if id is not None})
    if not id_list:
        return {}
    rows = await session.execute(_NAMES, {"ids": id_list})
    return {row.id: row.name for row in rows}


async def find_named_ids(session: AsyncSession, query: AuditFilters) -> NamedIds:
    """The ids for the names in a query today, including those of ended servers; at most 500 for each filter."""

    async def find(statement: sa.TextClause, **values: Any) -> list[UUID]:
        return [row.id for row in await session.execute(statement, values | {"limit": _MAX_NAMES})]

    anything = None
    if query.q:
        pattern = "%" + query.q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        if len(query.q) <= _FEW_LETTERS:
            anything = await find(_NAMED_BY_FEW, pattern=pattern)
        else:
            anything = await find(_NAMED_BY_LETTERS, pattern=pattern, part=query.q)
    return NamedIds(
        anything,
        await find(_ACTORS, names=query.actor_name) if query.actor_name else None,
        await find(_SERVERS, slugs=query.server_slug) if query.server_slug else None,
    )
