"""Reading the trail: pages newest first, polls in the order of commits, single events."""

import asyncio
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Malformed, NotFound
from app.features.audit import queries
from app.features.audit.names import actors_called, ids_named, names_of, servers_called
from app.features.audit.newest import find, place_of
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
from app.features.audit.shown import decision_of, outcome_of, policies_of
from app.features.audit.spans import skip
from app.http.pagination import Cursors
from app.lib.event_loop import in_slices
from app.models.audit import AuditClient, AuditEvent

# What a poll looks at at once, first and where nothing matches; it answers when it has looked for long enough, so that
# a rare filter cannot keep it from that.
WINDOW = 5_000
WIDEST_WINDOW = 40_000
LOOKS_FOR_S = 1.0
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
