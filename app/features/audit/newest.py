"""Lists from the newest event on: walked within an index, and no longer than a page may take.

Where no index serves what is asked for, the log is gone through backwards in windows. A page is given when it is full,
or when it has taken its time: it may hold fewer events then, or none, and the next one goes on from there.
"""

from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.audit import queries
from app.features.audit.queries import Named, Place, Position
from app.features.audit.schemas import AuditQuery
from app.features.audit.spans import Span, span_of

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
