"""Reading the trail: pages newest first, polls in the order of commits, single events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Malformed, NotFound
from app.features.audit import queries
from app.features.audit.models import AuditClient, AuditEvent
from app.features.audit.names import ids_named, names_of
from app.features.audit.schemas import (
    WIDEST_RANGE,
    Actor,
    AuditedClient,
    AuditedObject,
    AuditedServer,
    AuditEventView,
    AuditFilters,
    AuditQuery,
    show_id,
)
from app.features.audit.spans import skip
from app.kit.pagination import Cursors

# A poll looks at no more events than this at once, so that a rare filter cannot keep it from answering.
WINDOW = 5_000
BEGINNING: queries.Position = (0, 0, 0)
_LAST_IN_TRANSACTION = 2**63 - 1


async def page(
    session: AsyncSession, query: AuditQuery, cursors: Cursors, now: datetime
) -> tuple[list[AuditEventView], str | None]:
    """One page, newest first. Raises ``Malformed``: ``range_too_wide``, ``since_required``, a foreign cursor."""
    check_since(query)
    _check_range(query, now)
    position = cursors.read(query.cursor)
    named = await ids_named(session, query.q) if query.q else None
    rows = await _newest(session, query, named, _position(position))
    shown = rows[: query.limit]
    following = cursors.write(_place(shown[-1])) if len(rows) > query.limit else None
    return await _show(session, shown), following


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
    """The next events that match, at most so many, oldest first; it has reached ``after`` when there is nothing new."""
    start = await skip(session, query, after)
    end = (await session.execute(queries.window_end(query, start, WINDOW, until))).one_or_none()
    if end is None:
        # An epoch is complete once a later one holds events.
        following = (await session.execute(queries.next_epoch(start))).scalar_one()
        if following is None:
            return Stretch([], after)
        start = (following, -1, -1)
        end = (await session.execute(queries.window_end(query, start, WINDOW, until))).one_or_none()
        if end is None:
            return Stretch([], after)
    last = (start[0], end.xact, end.seq)
    named = await ids_named(session, query.q) if query.q else None
    ascending = queries.ascending(query, named, start, last, most + 1)
    rows = (await session.execute(ascending)).all()
    shown = rows[:most]
    reached = _place(shown[-1]) if len(rows) > most else last
    views = await _show(session, shown)
    return Stretch([(view, _place(row)) for view, row in zip(views, shown, strict=True)], reached)


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


async def _newest(
    session: AsyncSession, query: AuditQuery, named: list[UUID] | None, before: queries.Position | None
) -> list[Any]:
    """One event more than the page, if there is one; what the position's epoch lacks comes from older ones."""
    rows: list[Any] = []
    parts = [[]] if before is None else [queries.older_in_epoch(before), queries.older_epochs(before)]
    for within in parts:
        wanted = query.limit + 1 - len(rows)
        if wanted:
            rows += (await session.execute(queries.newest(query, named, within, wanted))).all()
    return rows


def check_since(query: AuditFilters) -> None:
    """Raise ``Malformed`` (``since_required``) for a filter that would look through everything."""
    if query.outcome and query.since is None:
        raise Malformed("A filter by outcome needs since.", code="since_required")


def _check_range(query: AuditQuery, now: datetime) -> None:
    if query.is_indexed or not query.needs_range:
        return
    if query.since is None or (query.until or now) - query.since > WIDEST_RANGE:
        raise Malformed(
            "These filters work within since and until of at most 31 days, or beside token_id, actor_id, server_id,"
            " request_id or a decision other than allow.",
            code="range_too_wide",
        )


def _position(values: list[Any] | None) -> queries.Position | None:
    return None if values is None else (values[0], values[1], values[2])


def _place(row: Any) -> queries.Position:
    event: AuditEvent = row[0]
    return (event.epoch, event.xact, event.seq)


async def _show(session: AsyncSession, rows: Sequence[Any]) -> list[AuditEventView]:
    events = [row[0] for row in rows]
    names = await names_of(session, [id for event in events for id in (event.actor_id, event.server_id)])
    return [_view(row[0], row[1], row.outcome, row.duration_ms, names) for row in rows]


def _view(
    event: AuditEvent,
    client: AuditClient | None,
    outcome: Any,
    duration_ms: int | None,
    names: dict[UUID, str],
) -> AuditEventView:
    columns = event.model_dump(
        include={
            "id", "time", "action", "decision", "reason_code", "on_behalf_of", "token_id", "tool", "grant_id",
            "policy_ids", "observed_policy_ids", "approval_id", "method", "changes", "call_id",
            "request_id", "trace_id",
        }
    )  # fmt: skip
    actor_id = event.actor_id if event.actor_id != UUID(int=0) else None
    return AuditEventView(
        **columns,
        outcome=outcome,
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
