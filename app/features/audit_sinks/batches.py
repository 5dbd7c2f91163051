"""Build the next batch of a sink: events in commit order without gaps, and periodic checkpoints."""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.audit.queries import Position
from app.features.audit.reading import read_on
from app.features.audit.schemas import AuditFilters
from app.features.audit_sinks.formats import FORMATS, checkpoint_item
from app.features.audit_sinks.queue import BatchEnd, ClaimedSink
from app.models.audit import AuditCheckpoint

MAX_BYTES = 1024 * 1024
"""Per batch, unless a single event is larger."""
# Events formatted at a time; other requests on this worker wait no longer than that takes.
_CHUNK = 50
_EVERYTHING = AuditFilters()


@dataclass(frozen=True, slots=True)
class Batch:
    """``events`` is their number; ``is_full`` says that more may follow immediately."""

    id: str
    begun: BatchEnd
    events: int
    body: bytes
    is_full: bool


@dataclass(slots=True)
class _FormattedEvents:
    items: list[bytes]
    size: int
    end: Position
    is_full: bool = False


async def next_batch(session: AsyncSession, claimed: ClaimedSink) -> Batch | None:
    """The batch that was begun, unchanged, or the next one, which may have no event. None if nothing is new."""
    written = await _events(session, claimed)
    checkpoint = await _checkpoint(session, claimed)
    if written.end == claimed.position and checkpoint is None:
        return None
    items = list(written.items)
    if checkpoint is not None:
        items.append(checkpoint_item(checkpoint.tree_size, checkpoint.note))
    begun = BatchEnd(written.end, None if checkpoint is None else checkpoint.tree_size)
    body = FORMATS[claimed.format].join(items) if items else b""
    return Batch(_id_of(claimed, begun), begun, len(written.items), body, written.is_full)


async def _events(session: AsyncSession, claimed: ClaimedSink) -> _FormattedEvents:
    """Format events up to the end of the begun batch, or as many as fit into a new one."""
    write, begun = FORMATS[claimed.format].write, claimed.begun
    written = _FormattedEvents([], 0, claimed.position)
    until = None if begun is None else begun.end
    while begun is not None or len(written.items) < claimed.batch_events:
        limit = _CHUNK if begun is not None else min(_CHUNK, claimed.batch_events - len(written.items))
        stretch = await read_on(session, _EVERYTHING, written.end, limit, until)
        await asyncio.sleep(0)
        for event, place in stretch.items:
            item = write(event)
            written.size += len(item) + 1
            if begun is None and written.items and written.size > MAX_BYTES:
                written.is_full = True
                return written
            written.items.append(item)
            written.end = place
        if stretch.reached == written.end and not stretch.items:
            break
        written.end = stretch.reached
    written.is_full = len(written.items) >= claimed.batch_events
    if begun is not None:
        written.end = begun.end
    return written


async def _checkpoint(session: AsyncSession, claimed: ClaimedSink) -> Any:
    """The checkpoint of the begun batch; else the newest one, if one is due that the sink does not have."""
    if claimed.begun is not None:
        if claimed.begun.checkpoint is None:
            return None
        query = select(AuditCheckpoint).where(col(AuditCheckpoint.tree_size) == claimed.begun.checkpoint)
    elif claimed.wants_checkpoint and FORMATS[claimed.format].checkpoints:
        query = select(AuditCheckpoint).where(col(AuditCheckpoint.tree_size) > (claimed.checkpoint or 0))
    else:
        return None
    return await session.scalar(query.order_by(col(AuditCheckpoint.tree_size).desc()).limit(1))


def _id_of(claimed: ClaimedSink, begun: BatchEnd) -> str:
    """The same id for the same events to the same sink, for any worker and any number of attempts."""
    place = f"{claimed.id} {claimed.position} {begun.end} {begun.checkpoint}"
    return "bat_" + hashlib.sha256(place.encode()).hexdigest()[:32]
