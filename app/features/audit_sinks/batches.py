"""Build the next batch of a sink: events in commit order without gaps, in its format, and periodic checkpoints."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.audit.ocsf import ocsf_lines
from app.features.audit.queries import Position
from app.features.audit.reading import read_on
from app.features.audit.schemas import AuditEventView, AuditFilters
from app.features.audit_sinks.queue import CHECKPOINT_EVERY, BatchEnd, pending_batch, position
from app.models.audit import AuditCheckpoint, AuditSink

MAX_BYTES = 1024 * 1024
"""Per batch, unless a single event is larger."""
# Events formatted at a time; other requests on this worker wait no longer than that takes.
_CHUNK = 50
_EVERYTHING = AuditFilters()


@dataclass(frozen=True, slots=True)
class Batch:
    """``events`` is their number; ``is_full`` says that more may follow immediately."""

    id: str
    end: BatchEnd
    events: int
    body: bytes
    is_full: bool


async def next_batch(session: AsyncSession, sink: AuditSink) -> Batch | None:
    """The pending batch, unchanged, or the next one, which may have no event. None if nothing is new."""
    items, reached, is_full = await _events(session, sink)
    events, checkpoint = len(items), await _checkpoint(session, sink)
    if reached == position(sink) and checkpoint is None:
        return None
    if checkpoint is not None:
        item = {"action": "audit.checkpoint", "tree_size": checkpoint.tree_size, "note": checkpoint.note}
        items.append(json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode())
    end = BatchEnd(reached, None if checkpoint is None else checkpoint.tree_size)
    body = FORMATS[sink.format].join(items) if items else b""
    # The same id for the same events to the same sink, for any worker and any number of attempts.
    place = f"{sink.id} {position(sink)} {end.end} {end.checkpoint}"
    id = "bat_" + hashlib.sha256(place.encode()).hexdigest()[:32]
    return Batch(id, end, events, body, is_full)


async def _events(session: AsyncSession, sink: AuditSink) -> tuple[list[bytes], Position, bool]:
    """Format events up to the end of the pending batch, or as many as fit into a new one.

    Return them, the end, and whether more may follow immediately.
    """
    write, pending = FORMATS[sink.format].write, pending_batch(sink)
    items: list[bytes] = []
    size, end = 0, position(sink)
    until = None if pending is None else pending.end
    while until is not None or len(items) < sink.batch_events:
        limit = _CHUNK if until is not None else min(_CHUNK, sink.batch_events - len(items))
        read = await read_on(session, _EVERYTHING, end, limit, until)
        await asyncio.sleep(0)
        for event, place in read.items:
            item = write(event)
            size += len(item) + 1
            if until is None and items and size > MAX_BYTES:
                return items, end, True
            items.append(item)
            end = place
        if read.reached == end and not read.items:
            break
        end = read.reached
    return items, until or end, len(items) >= sink.batch_events


async def _checkpoint(session: AsyncSession, sink: AuditSink) -> AuditCheckpoint | None:
    """The checkpoint of the pending batch; else the newest one, if one is due that the sink does not have."""
    size, pending = col(AuditCheckpoint.tree_size), pending_batch(sink)
    if pending is not None:
        if pending.checkpoint is None:
            return None
        query = select(AuditCheckpoint).where(size == pending.checkpoint)
    elif FORMATS[sink.format].checkpoints:
        query = select(AuditCheckpoint).where(size > (sink.checkpoint or 0))
        if sink.checkpoint_at is not None:
            query = query.where(literal(sink.checkpoint_at) <= func.now() - CHECKPOINT_EVERY)
    else:
        return None
    newest: AuditCheckpoint | None = await session.scalar(query.order_by(size.desc()).limit(1))
    return newest


@dataclass(frozen=True, slots=True)
class Format:
    """``write`` an event, ``join`` written events; ``checkpoints`` says whether the format can contain them."""

    media_type: bytes
    write: Callable[[AuditEventView], bytes]
    join: Callable[[Sequence[bytes]], bytes]
    checkpoints: bool


def _event(event: AuditEventView) -> bytes:
    return event.model_dump_json().encode()


def _splunk(event: AuditEventView) -> bytes:
    """The format of ``/services/collector/event``: fractional seconds, and the event."""
    head = (
        f'{{"time":{event.time.timestamp():.3f},"source":"scopegate","sourcetype":"scopegate:audit","event":'
    )
    return head.encode() + _event(event) + b"}"


def _lines(items: Sequence[bytes]) -> bytes:
    return b"\n".join(items) + b"\n"


_NDJSON, _JSON = b"application/x-ndjson", b"application/json"
FORMATS = {
    "ndjson": Format(_NDJSON, _event, _lines, checkpoints=True),
    "json": Format(_JSON, _event, lambda items: b"[" + b",".join(items) + b"]", checkpoints=True),
    "ocsf": Format(_NDJSON, lambda event: ocsf_lines([event]).rstrip(b"\n"), _lines, checkpoints=False),
    "splunk_hec": Format(_JSON, _splunk, _lines, checkpoints=False),
}
