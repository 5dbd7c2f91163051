"""Read the audit log: pages newest first, polls in commit order, single events, live streams and exports.

A list without a matching index searches the log backwards in windows. A page ends when it is full or its time is over:
then it may hold fewer events, or none, and the next page continues from there.

Values of stored rows are shown in the terms of the API, no matter who wrote them: with the right to insert into the
log, an attacker can write values that the service never does. One such row must not block reading the events after it,
so its invalid values are left out here. Its leaf has them all.
"""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, get_args
from uuid import UUID

from sqlalchemy import ColumnElement, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.call_arguments import kept_arguments
from app.db.change import Change, Subject, Values
from app.db.clock import transaction_time
from app.domain.errors import Malformed, NotFound
from app.features.audit import queries, schemas
from app.features.audit.ocsf import ocsf_lines
from app.features.audit.queries import NamedIds, Place, Position, Span
from app.http.authorization import Caller
from app.http.live import Look, News, live_event
from app.http.pagination import Cursors, Page
from app.http.runtime import Runtime
from app.lib.event_loop import map_in_slices
from app.lib.names import escape_bidi
from app.models.audit import AuditClient, AuditEvent

SEARCH_TIME_S = 1.0
"""Time limit for the search of one page, plus one window."""
FIRST_WINDOW = 2_000
_MAX_LIST_WINDOW = 32_000

# Frequent matches are found in the first window, and rare ones in few.
_WINDOW_GROWTH = 4

# A frequently refused actor often has many calls. PostgreSQL assumes independence and would read both indexes whole.
_ONE_INDEX = text("SET LOCAL enable_bitmapscan TO off")

# Other searches in the transaction may need bitmaps, as text does.
_ANY_INDEX = text("SET LOCAL enable_bitmapscan TO DEFAULT")
_Region = tuple[Position | None, Position | None]
"""The range from a position up to, but without, another; None is the beginning or the end."""


async def find(
    session: AsyncSession, query: schemas.AuditQuery, named: NamedIds, before: Position | None
) -> tuple[list[Any], Position | None]:
    """Find the rows of a page before a position, and the position to continue from; None at the end."""
    if not query.narrows_refused:
        return await _find_in_span(session, query, named, before)
    await session.execute(_ONE_INDEX)
    rows = await _find_in_span(session, query, named, before)
    await session.execute(_ANY_INDEX)
    return rows


async def _find_in_span(
    session: AsyncSession, query: schemas.AuditQuery, named: NamedIds, before: Position | None
) -> tuple[list[Any], Position | None]:
    rows: list[Any] = []
    give_up, width, is_walked = monotonic() + SEARCH_TIME_S, FIRST_WINDOW, query.is_walked

    async def add(within: list[ColumnElement[bool]]) -> None:
        remaining = query.limit + 1 - len(rows)
        rows.extend(await session.execute(queries.select_newest(query, named, within, remaining)))

    for region in _regions(await queries.span_of(session, query), before):
        async for epoch, first, last in _epochs(session, region):
            end = last
            if not is_walked:
                await add(queries.between(epoch, first, end))
            while is_walked and len(rows) <= query.limit:
                window = queries.window_start(queries.between(epoch, first, end), width)
                start = (await session.execute(window)).one_or_none()
                if start is None:
                    break
                reached = (start.xact, start.seq)
                await add(queries.between(epoch, reached, end))
                end, width = reached, min(width * _WINDOW_GROWTH, _MAX_LIST_WINDOW)
                if monotonic() > give_up and len(rows) <= query.limit:
                    return rows, (epoch, *reached)
            if len(rows) > query.limit:
                return rows[: query.limit], place_of(rows[query.limit - 1])
    return rows, None


def place_of(row: Any) -> Position:
    """The position of a row's event."""
    event = row[0]
    return (event.epoch, event.xact, event.seq)


def _regions(span: Span | None, before: Position | None) -> list[_Region]:
    """The regions with events older than a position and in a span of time, the newest first."""
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
    """Split a region by epoch, the newest first."""
    first, end = region
    epoch = end[0] if end is not None else (await session.execute(queries.epoch_before(None))).scalar_one()
    while epoch is not None and (first is None or epoch >= first[0]):
        begins = first[1:] if first is not None and first[0] == epoch else None
        ends = end[1:] if end is not None and end[0] == epoch else None
        yield epoch, begins, ends
        epoch = (await session.execute(queries.epoch_before(epoch))).scalar_one()


_DECISIONS, _OUTCOMES = (
    frozenset(get_args(get_args(kind.__value__)[0])) for kind in (schemas.AuditDecision, schemas.AuditOutcome)
)


def decision_of(stored: str | None) -> str | None:
    """The decision; None for an invalid value."""
    return stored if stored in _DECISIONS else None


def policies_of(stored: Iterable[object] | None) -> list[UUID] | None:
    """The valid ids of policies; the array may hold other text and NULL."""
    return None if stored is None else [id for id in stored if isinstance(id, UUID)]


# The size of a poll's first window, and of its widest when nothing matches. A poll answers at its deadline, so that a
# rare filter cannot delay the response.
POLL_WINDOW = 5_000
MAX_POLL_WINDOW = 40_000

# Rows converted at once; other requests on this worker wait no longer than that takes.
_MADE_AT_ONCE = 50
BEGINNING: Position = (0, 0, 0)
_EVENT = Subject("audit_event")
_CLIENT = set(schemas.AuditedClient.model_fields)


async def list_events(
    session: AsyncSession, runtime: Runtime, query: schemas.AuditQuery
) -> Page[schemas.AuditEventView]:
    """Read one page, newest first; with ``after``, poll what was committed after that cursor, oldest first.

    Raises ``Malformed``: ``range_too_wide``, ``since_required``, an invalid cursor.
    """
    key = runtime.peppers.derive("cursors")
    if query.after is None:
        cursors = Cursors(key, "list_audit_events", query.filters())
        items, next_cursor = await page(session, query, cursors, await transaction_time(session))
        return Page(items=items, next_cursor=next_cursor)
    check_since(query)
    cursors = Cursors(key, "poll_audit_events", query.filters())
    batch = await read_on(session, query, position_of(cursors, query.after) or BEGINNING, query.limit)
    return Page(items=[item for item, _ in batch.items], next_cursor=cursors.write(batch.reached))


async def page(
    session: AsyncSession, query: schemas.AuditQuery, cursors: Cursors, now: datetime
) -> tuple[list[schemas.AuditEventView], str | None]:
    """Read one page, newest first, and its next cursor. Raises as ``list_events``."""
    check_since(query)
    if query.is_walked and (query.since is None or (query.until or now) - query.since > schemas.MAX_RANGE):
        raise Malformed(
            "These filters need since and until of at most 31 days, or one of id, token_id, actor_id, actor_name, "
            "server_id, server_slug, request_id or a decision other than allow.",
            code="range_too_wide",
        )
    before = _position(cursors.read(query.cursor))
    rows, following = await find(session, query, await queries.find_named_ids(session, query), before)
    return await _show(session, rows), None if following is None else cursors.write(following)


@dataclass(frozen=True, slots=True)
class EventBatch:
    """A part of the log in commit order: events with their positions, and the position that was reached."""

    items: list[tuple[schemas.AuditEventView, Position]]
    reached: Position


async def read_on(
    session: AsyncSession,
    query: schemas.AuditFilters,
    after: Position,
    limit: int,
    until: Position | None = None,
) -> EventBatch:
    """Read the next matching events, oldest first. The reached position is ``after`` when there is nothing new.

    If few match, it searches further until its deadline.
    """
    named, give_up = await queries.find_named_ids(session, query), monotonic() + SEARCH_TIME_S
    rows: list[Any] = []
    reached, width = after, POLL_WINDOW
    while True:
        window = await queries.next_window(
            session, query, await queries.skip(session, query, reached), width, until
        )
        if window is None:
            break
        start, reached = window
        remaining = limit + 1 - len(rows)
        stream = await session.stream(queries.select_in_commit_order(query, named, start, reached, remaining))
        async for part in stream.partitions(_MADE_AT_ONCE):
            rows += part
            await asyncio.sleep(0)
        if len(rows) > limit or monotonic() > give_up:
            break
        width = min(width * 2, MAX_POLL_WINDOW)
    page_rows = rows[:limit]
    if len(rows) > limit:
        reached = place_of(page_rows[-1])
    views = await _show(session, page_rows)
    return EventBatch([(view, place_of(row)) for view, row in zip(views, page_rows, strict=True)], reached)


def position_of(cursors: Cursors, cursor: str | None) -> Position | None:
    """The position of a cursor; an empty one is the beginning. Raises ``Malformed`` for an invalid one."""
    return BEGINNING if cursor == "" else _position(cursors.read(cursor))


async def read(session: AsyncSession, id: UUID) -> schemas.AuditEventView:
    """Read one event. Raises ``NotFound``."""
    row = (await session.execute(queries.select_by_id(id))).one_or_none()
    if row is None:
        raise NotFound("There is no such audit event.")
    return (await _show(session, [row]))[0]


async def read_arguments(change: Change, id: UUID, runtime: Runtime) -> schemas.AuditArgumentsView:
    """Read the recorded arguments of a call. Reading them is recorded as an event. Raises ``NotFound``."""
    event = await read(change.session, id)
    kept, arguments = await kept_arguments(change.session, runtime.sealer, id)
    if kept:
        server_id = None if event.server is None else event.server.id
        change.record("arguments.read", _EVENT, Values(id, {}), server_id=server_id, tool=event.tool)
    return schemas.AuditArgumentsView(event_id=id, kept=kept, arguments=arguments)


def check_since(query: schemas.AuditFilters) -> None:
    """Raise ``Malformed`` (``since_required``) for a filter that would search the whole log."""
    if query.reads_results and query.since is None:
        raise Malformed("A filter by outcome or duration needs since.", code="since_required")


def _position(values: list[Any] | None) -> Position | None:
    return None if values is None else (values[0], values[1], values[2])


async def _show(session: AsyncSession, rows: Sequence[Any]) -> list[schemas.AuditEventView]:
    events = [row[0] for row in rows]
    names = await queries.names_of(
        session, [id for event in events for id in (event.actor_id, event.server_id)]
    )
    return await map_in_slices(lambda row: _view(row, names), rows)


def _view(row: Any, names: dict[UUID, str]) -> schemas.AuditEventView:
    event: AuditEvent = row[0]
    client: AuditClient | None = row[1]
    actor = event.actor_id if event.actor_id != UUID(int=0) else None
    actor_name = None if actor is None else names.get(actor)
    server, kind = event.server_id, event.object_type
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
        "outcome": row.outcome if row.outcome is None or row.outcome in _OUTCOMES else "unknown",
        "changes": event.changes,
        "duration_ms": row.duration_ms,
        "count": event.event_count,
        "arguments_digest": None if event.arguments_digest is None else event.arguments_digest.hex(),
        "actor": {
            "type": event.actor_type,
            "id": schemas.show_id(event.actor_type, actor),
            "name": actor_name,
        },
        "server": None if server is None else {"id": server, "slug": names.get(server)},
        "object": None if kind is None else {"type": kind, "id": schemas.show_id(kind, event.object_id)},
        "client": None if client is None else client.model_dump(include=_CLIENT),
    }
    return schemas.AuditEventView(**columns)


AT_ONCE = 200


def follow(query: schemas.AuditFilters, cursors: Cursors, after: Position) -> Look:
    """Stream the events after a position, each with a cursor to continue from."""

    async def look(session: AsyncSession, _caller: Caller) -> News:
        nonlocal after
        batch = await read_on(session, query, after, AT_ONCE)
        if batch.reached == after:
            return News()
        events = await map_in_slices(
            lambda item: live_event(item[0].model_dump(mode="json"), id=cursors.write(item[1])), batch.items
        )
        if not batch.items or batch.items[-1][1] != batch.reached:
            # Nothing matched: a client that reconnects need not search that part again.
            events.append(f"id: {cursors.write(batch.reached)}\r\n\r\n".encode())
        after = batch.reached
        return News(events, more=True)

    return look


_LINES = "application/x-ndjson"
_MEDIA_TYPES = {"ndjson": _LINES, "ocsf": _LINES, "leaves": _LINES, "csv": "text/csv; charset=utf-8"}
_ENDINGS = {"ocsf": "ocsf.ndjson", "leaves": "leaves.ndjson"}
PAGE = 1_000
_STEP = 5
COLUMNS = (
    "id", "time", "action", "decision", "reason_code", "outcome", "actor_type", "actor_id", "actor_name",
    "on_behalf_of", "token_id", "server_id", "server_slug", "tool", "object_type", "object_id", "grant_id",
    "policy_ids", "observed_policy_ids", "approval_id", "client_name", "client_version", "client_ip",
    "client_user_agent", "method", "arguments_digest", "changes", "duration_ms", "count", "call_id", "request_id",
    "trace_id",
)  # fmt: skip

# What makes a cell a formula in some spreadsheet program (OWASP, CSV injection), including full-width forms.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001

# Fields whose own fields become columns.
_PARTS = ("actor", "server", "object", "client")


def headers_of(query: schemas.AuditExportQuery, now: datetime) -> dict[str, str]:
    """The response headers that describe the file."""
    name = f"audit-events-{now:%Y%m%dT%H%M%SZ}.{_ENDINGS.get(query.format, query.format)}"
    return {
        "Content-Type": _MEDIA_TYPES[query.format],
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
    }


def export(query: schemas.AuditExportQuery, until: Position) -> Look:
    """Stream the events up to a position as parts of a file of any size, page by page in commit order."""
    after, written = BEGINNING, False

    async def look(session: AsyncSession, _caller: Caller) -> News:
        nonlocal after, written
        batch = await read_on(session, query, after, PAGE, until)
        is_last, after = batch.reached == after, batch.reached
        head = _table([COLUMNS]) if query.format == "csv" and not written else b""
        written = True
        # In steps: all of it at once would delay the calls on this worker.
        events = [event for event, _ in batch.items]
        steps = [events[begin : begin + _STEP] for begin in range(0, len(events), _STEP)]
        content = b"".join([head, *await map_in_slices(_WRITERS[query.format], steps)])
        return News([content] if content else [], is_last=is_last)

    return look


def event_lines(events: Sequence[schemas.AuditEventView]) -> bytes:
    """Write events as the API shows them, one per line, each with its line end."""
    return b"".join(event.model_dump_json().encode() + b"\n" for event in events)


def _table(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    # RFC 4180. Everything is quoted, so that no text is read as two cells.
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode()


def _rows(events: Sequence[schemas.AuditEventView]) -> bytes:
    rows = []
    for event in events:
        fields: dict[str, Any] = event.model_dump(mode="json")
        for part in _PARTS:
            fields |= {f"{part}_{name}": value for name, value in (fields[part] or {}).items()}
        rows.append([_cell(fields.get(name)) for name in COLUMNS])
    return _table(rows)


def _cell(value: Any) -> str:
    """Format a value so that no spreadsheet takes it for a formula: a possible one begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, list):
        return escape_bidi(" ".join(value))
    text = escape_bidi(json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value))
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


_WRITERS = {"ndjson": event_lines, "ocsf": ocsf_lines, "csv": _rows}
