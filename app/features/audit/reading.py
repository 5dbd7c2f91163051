"""Reading the trail: pages newest first, polls in the order of commits, single events.

Lists from the newest event on: walked within an index, and no longer than a page may take.

Where no index serves what is asked for, the log is gone through backwards in windows. A page is given when it is full,
or when it has taken its time: it may hold fewer events then, or none, and the next one goes on from there.

Values of stored rows as the API can show them, whoever wrote them.

Whoever may insert into the trail can write what the service never does. One such row must not keep all that follow from
whoever reads the trail: it is shown as far as the contract has words for it. Its leaf says all of it.

The trail as it grows, as the events of a live stream.
"""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, get_args
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Malformed, NotFound
from app.features.audit import queries
from app.features.audit.names import actors_called, ids_named, names_of, servers_called
from app.features.audit.queries import Named, Place, Position, Span, skip, span_of
from app.features.audit.schemas import (
    WIDEST_RANGE,
    Actor,
    AuditDecision,
    AuditedClient,
    AuditedObject,
    AuditedServer,
    AuditEventView,
    AuditFilters,
    AuditOutcome,
    AuditQuery,
    show_id,
)
from app.http.authorization import Caller
from app.http.live import Look, News, live_event
from app.http.pagination import Cursors
from app.lib.event_loop import in_slices
from app.models.audit import AuditClient, AuditEvent

LOOKS_FOR_S = 1.0
"""So long a page is looked for, and a window more."""
FIRST_WINDOW = 2_000
_WIDEST_WINDOW = 32_000

# What usually matches is found in the first, and what is rare in few.
_WIDER = 4

# Who is refused often has many calls: thought to have nothing to do with each other, both indexes would be read whole.
_ONE_INDEX = text("SET LOCAL enable_bitmapscan TO off")

# What else the transaction looks for may be found by bitmaps alone, as text is.
_ANY_INDEX = text("SET LOCAL enable_bitmapscan TO DEFAULT")
_Region = tuple[Position | None, Position | None]
"""From a position on, to before another; None: from the beginning, to the end."""


async def find(
    session: AsyncSession, query: AuditQuery, named: Named, before: Position | None
) -> tuple[list[Any], Position | None]:
    """The rows of a page, older than a position, and the position to go on before; None at the end."""
    if not query.narrows_refused:
        return await _found(session, query, named, before)
    await session.execute(_ONE_INDEX)
    found = await _found(session, query, named, before)
    await session.execute(_ANY_INDEX)
    return found


async def _found(
    session: AsyncSession, query: AuditQuery, named: Named, before: Position | None
) -> tuple[list[Any], Position | None]:
    rows: list[Any] = []
    looking = _Looking(session, query, named)
    for region in _regions(await span_of(session, query), before):
        async for epoch, first, end in _epochs(session, region):
            reached = await looking.within(rows, epoch, first, end)
            if len(rows) > query.limit:
                return rows[: query.limit], place_of(rows[query.limit - 1])
            if reached is not None:
                return rows, (epoch, *reached)
    return rows, None


def place_of(row: Any) -> Position:
    """Where the event of a row is."""
    event = row[0]
    return (event.epoch, event.xact, event.seq)


class _Looking:
    """One page's search, with the time that it has."""

    def __init__(self, session: AsyncSession, query: AuditQuery, named: Named) -> None:
        self._session, self._query, self._named = session, query, named
        self._until = monotonic() + LOOKS_FOR_S
        self._window = FIRST_WINDOW

    async def within(
        self, rows: list[Any], epoch: int, first: Place | None, end: Place | None
    ) -> Place | None:
        """Add what matches in a part of an epoch, up to one more than a page; where the time was over, if it was."""
        if not self._query.is_walked:
            await self._add(rows, epoch, first, end)
            return None
        while len(rows) <= self._query.limit:
            window = queries.window_start(queries.between(epoch, first, end), self._window)
            start = (await self._session.execute(window)).one_or_none()
            if start is None:
                return None
            await self._add(rows, epoch, (start.xact, start.seq), end)
            end = (start.xact, start.seq)
            self._window = min(self._window * _WIDER, _WIDEST_WINDOW)
            if monotonic() > self._until:
                return end
        return None

    async def _add(self, rows: list[Any], epoch: int, first: Place | None, end: Place | None) -> None:
        within, wanted = queries.between(epoch, first, end), self._query.limit + 1 - len(rows)
        rows += (await self._session.execute(queries.newest(self._query, self._named, within, wanted))).all()


def _regions(span: Span | None, before: Position | None) -> list[_Region]:
    """Where events can be that are older than a position and in a span of time, the newest first."""
    if span is None:
        return [(None, before)]
    regions: list[_Region] = [(_following(span.counted), before)]
    if span.first is not None and span.last is not None:
        if span.last >= span.counted:
            return [(span.first, before)]
        end = _following(span.last)
        regions.append((span.first, end if before is None else min(end, before)))
    return [(first, end) for first, end in regions if first is None or end is None or first < end]


def _following(position: Position) -> Position:
    epoch, xact, seq = position
    return (epoch, xact, seq + 1)


async def _epochs(
    session: AsyncSession, region: _Region
) -> AsyncIterator[tuple[int, Place | None, Place | None]]:
    """The parts of a region by epoch, the newest first."""
    first, end = region
    epoch = end[0] if end is not None else (await session.execute(queries.epoch_before(None))).scalar_one()
    while epoch is not None and (first is None or epoch >= first[0]):
        begins = first[1:] if first is not None and first[0] == epoch else None
        ends = end[1:] if end is not None and end[0] == epoch else None
        yield epoch, begins, ends
        epoch = (await session.execute(queries.epoch_before(epoch))).scalar_one()


_DECISIONS, _OUTCOMES = (
    frozenset(get_args(get_args(kind.__value__)[0])) for kind in (AuditDecision, AuditOutcome)
)


def decision_of(stored: str | None) -> str | None:
    """A decision; None for what is none."""
    return stored if stored in _DECISIONS else None


def outcome_of(stored: str | None) -> str | None:
    """An outcome; ``unknown`` for what is none."""
    return stored if stored is None or stored in _OUTCOMES else "unknown"


def policies_of(stored: Iterable[object] | None) -> list[UUID] | None:
    """Ids of policies, without what is none: an array may hold others, and NULL."""
    return None if stored is None else [id for id in stored if isinstance(id, UUID)]


# What a poll looks at at once, first and where nothing matches; it answers when it has looked for long enough, so that
# a rare filter cannot keep it from that.
WINDOW = 5_000
WIDEST_WINDOW = 40_000

# So many rows are made into events at once: whoever else the worker serves waits no longer than that takes.
_MADE_AT_ONCE = 50
BEGINNING: queries.Position = (0, 0, 0)
_LAST_IN_TRANSACTION = 2**63 - 1


async def page(
    session: AsyncSession, query: AuditQuery, cursors: Cursors, now: datetime
) -> tuple[list[AuditEventView], str | None]:
    """One page, newest first. Raises ``Malformed``: ``range_too_wide``, ``since_required``, a foreign cursor."""
    check_since(query)
    _check_range(query, now)
    before = _position(cursors.read(query.cursor))
    rows, following = await find(session, query, await named_in(session, query), before)
    return await _show(session, rows), None if following is None else cursors.write(following)


async def poll(
    session: AsyncSession, query: AuditQuery, cursors: Cursors
) -> tuple[list[AuditEventView], str]:
    """What was committed after the cursor, oldest first, and the cursor to go on with.

    Raises ``Malformed``: ``since_required``, a foreign cursor.
    """
    check_since(query)
    found = await read_on(session, query, position_of(cursors, query.after) or BEGINNING, query.limit)
    return [item for item, _ in found.items], cursors.write(found.reached)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the trail in the order of commits: events with their positions, and how far it was looked through."""

    items: list[tuple[AuditEventView, queries.Position]]
    reached: queries.Position


async def read_on(
    session: AsyncSession,
    query: AuditFilters,
    after: queries.Position,
    most: int,
    until: queries.Position | None = None,
) -> Stretch:
    """The next events that match, at most so many, oldest first; it has reached ``after`` when there is nothing new.

    Where few match it is looked on for them, for a while.
    """
    named, give_up = await named_in(session, query), monotonic() + LOOKS_FOR_S
    rows: list[Any] = []
    reached, width = after, WINDOW
    while True:
        window = await _next_window(session, query, await skip(session, query, reached), width, until)
        if window is None:
            break
        start, reached = window
        wanted = most + 1 - len(rows)
        found = await session.stream(queries.ascending(query, named, start, reached, wanted))
        async for part in found.partitions(_MADE_AT_ONCE):
            rows += part
            await asyncio.sleep(0)
        if len(rows) > most or monotonic() > give_up:
            break
        width = min(width * 2, WIDEST_WINDOW)
    shown = rows[:most]
    if len(rows) > most:
        reached = place_of(shown[-1])
    views = await _show(session, shown)
    return Stretch([(view, place_of(row)) for view, row in zip(views, shown, strict=True)], reached)


async def _next_window(
    session: AsyncSession,
    query: AuditFilters,
    start: queries.Position,
    width: int,
    until: queries.Position | None,
) -> tuple[queries.Position, queries.Position] | None:
    """What the next events lie between, in one epoch: after the first position, up to the second; None at the end."""
    end = (await session.execute(queries.window_end(query, start, width, until))).one_or_none()
    if end is None:
        # An epoch is complete once a later one holds events.
        following = (await session.execute(queries.next_epoch(start))).scalar_one()
        if following is None:
            return None
        start = (following, -1, -1)
        end = (await session.execute(queries.window_end(query, start, width, until))).one_or_none()
    return None if end is None else (start, (start[0], end.xact, end.seq))


def position_of(cursors: Cursors, cursor: str | None) -> queries.Position | None:
    """Where a cursor stands; an empty one is at the beginning. Raises ``Malformed`` for a foreign one."""
    return BEGINNING if cursor == "" else _position(cursors.read(cursor))


async def present(session: AsyncSession) -> queries.Position:
    """The position before everything that cannot be read yet."""
    row = (await session.execute(queries.horizon())).one()
    return (row.epoch, row.xact, _LAST_IN_TRANSACTION)


async def read(session: AsyncSession, id: UUID) -> AuditEventView:
    """One event. Raises ``NotFound``."""
    row = (await session.execute(queries.by_id(id))).one_or_none()
    if row is None:
        raise NotFound("There is no such audit event.")
    return (await _show(session, [row]))[0]


async def named_in(session: AsyncSession, query: AuditFilters) -> queries.Named:
    return queries.Named(
        anything=await ids_named(session, query.q) if query.q else None,
        actors=await actors_called(session, query.actor_name) if query.actor_name else None,
        servers=await servers_called(session, query.server_slug) if query.server_slug else None,
    )


def check_since(query: AuditFilters) -> None:
    """Raise ``Malformed`` (``since_required``) for a filter that would look through everything."""
    if query.reads_results and query.since is None:
        raise Malformed("A filter by outcome or duration needs since.", code="since_required")


def _check_range(query: AuditQuery, now: datetime) -> None:
    if not query.is_walked:
        return
    if query.since is None or (query.until or now) - query.since > WIDEST_RANGE:
        raise Malformed(
            "These filters work within since and until of at most 31 days, or beside id, token_id, actor_id,"
            " actor_name, server_id, server_slug, request_id or a decision other than allow.",
            code="range_too_wide",
        )


def _position(values: list[Any] | None) -> queries.Position | None:
    return None if values is None else (values[0], values[1], values[2])


async def _show(session: AsyncSession, rows: Sequence[Any]) -> list[AuditEventView]:
    events = [row[0] for row in rows]
    names = await names_of(session, [id for event in events for id in (event.actor_id, event.server_id)])
    return await in_slices(_views(rows, names))


def _views(rows: Sequence[Any], names: dict[UUID, str]) -> Generator[None, None, list[AuditEventView]]:
    views = []
    for row in rows:
        views.append(_view(row[0], row[1], row.outcome, row.duration_ms, names))
        yield
    return views


def _view(
    event: AuditEvent,
    client: AuditClient | None,
    outcome: Any,
    duration_ms: int | None,
    names: dict[UUID, str],
) -> AuditEventView:
    columns = event.model_dump(
        include={
            "id", "time", "action", "reason_code", "on_behalf_of", "token_id", "tool", "grant_id",
            "approval_id", "method", "call_id", "request_id", "trace_id",
        }
    )  # fmt: skip
    columns |= {
        "policy_ids": policies_of(event.policy_ids),
        "observed_policy_ids": policies_of(event.observed_policy_ids),
        "decision": decision_of(event.decision),
        "outcome": outcome_of(outcome),
        "changes": event.changes,
    }
    actor_id = event.actor_id if event.actor_id != UUID(int=0) else None
    return AuditEventView(
        **columns,
        duration_ms=duration_ms,
        count=event.event_count,
        arguments_digest=None if event.arguments_digest is None else event.arguments_digest.hex(),
        actor=Actor(
            type=event.actor_type,
            id=show_id(event.actor_type, actor_id),
            name=None if actor_id is None else names.get(actor_id),
        ),
        server=None
        if event.server_id is None
        else AuditedServer(id=event.server_id, slug=names.get(event.server_id)),
        object=None
        if event.object_type is None
        else AuditedObject(type=event.object_type, id=show_id(event.object_type, event.object_id)),
        client=None
        if client is None
        else AuditedClient(
            name=client.name, version=client.version, ip=client.ip, user_agent=client.user_agent
        ),
    )


AT_ONCE = 200


def follow(query: AuditFilters, cursors: Cursors, after: Position) -> Look:
    """What finds the events after a position, each under a cursor that goes on after it."""

    async def look(session: AsyncSession, _caller: Caller) -> News:
        nonlocal after
        stretch = await read_on(session, query, after, AT_ONCE)
        if stretch.reached == after:
            return News()
        events = await in_slices(_told(stretch, cursors))
        if not stretch.items or stretch.items[-1][1] != stretch.reached:
            # Nothing matched lately: whoever comes back need not go through that again.
            events.append(f"id: {cursors.write(stretch.reached)}\r\n\r\n".encode())
        after = stretch.reached
        return News(events, more=True)

    return look


def _told(stretch: Stretch, cursors: Cursors) -> Generator[None, None, list[bytes]]:
    events = []
    for event, place in stretch.items:
        events.append(live_event(event.model_dump(mode="json"), id=cursors.write(place)))
        yield
    return events
