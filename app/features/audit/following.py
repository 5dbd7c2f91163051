"""The trail as it grows, as the events of a live stream."""

from collections.abc import Generator

from sqlalchemy.ext.asyncio import AsyncSession

from app.features.audit.queries import Position
from app.features.audit.reading import Stretch, read_on
from app.features.audit.schemas import AuditFilters
from app.http.authorization import Caller
from app.http.live import Look, News, live_event
from app.http.pagination import Cursors
from app.lib.event_loop import in_slices

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
