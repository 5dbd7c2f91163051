"""Leases on sinks: one worker at a time delivers to a sink, and the position moves when a batch was accepted.

The lease of a lost worker expires, and the next worker sends the same batch: at-least-once delivery. A batch is stored
before it is sent, so that a repeat has the same events under the same id.
"""

from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.connection import Connection
from app.features.audit.queries import Position
from app.lib.ids import new_id
from app.models.audit import MAX_BATCH_EVENTS, AuditSink

LEASE = timedelta(seconds=60)
"""Longer than an attempt takes."""
CHECKPOINT_EVERY = timedelta(minutes=1)


class BatchEnd(NamedTuple):
    """The end of a batch, and its checkpoint."""

    end: Position
    checkpoint: int | None


_CLAIM = text("""
WITH due AS (
    SELECT s.id FROM audit_sinks s
    WHERE s.status = 'active' AND s.ended_at IS NULL AND s.due_at <= now()
        AND coalesce(s.leased_until <= now(), true)
        AND (s.batch_xact IS NOT NULL
            OR EXISTS (SELECT FROM audit_events e WHERE e.epoch = s.epoch AND (e.xact, e.seq) > (s.xact, s.seq))
            OR EXISTS (SELECT FROM audit_events e WHERE e.epoch > s.epoch)
            OR s.format IN ('ndjson', 'json') AND coalesce(s.checkpoint_at <= now() - interval '1 minute', true)
                AND EXISTS (SELECT FROM audit_checkpoints c WHERE c.tree_size > coalesce(s.checkpoint, 0)))
    ORDER BY s.due_at LIMIT :limit FOR UPDATE OF s SKIP LOCKED
)
UPDATE audit_sinks s SET lease = :lease, leased_until = now() + :held FROM due WHERE s.id = due.id
RETURNING s.*
""")
_BEGIN = text("""
UPDATE audit_sinks SET batch_epoch = :epoch, batch_xact = :xact, batch_seq = :seq, batch_checkpoint = :checkpoint,
    leased_until = now() + :held
WHERE id = :id AND lease = :lease AND revision = :revision AND status = 'active' AND ended_at IS NULL RETURNING id
""")
# Grows by a little each time, and is halved when it was too large: soon the size fits the endpoint.
_ACCEPTED = text("""
UPDATE audit_sinks s SET epoch = :epoch, xact = :xact, seq = :seq, batch_epoch = NULL, batch_xact = NULL,
    batch_seq = NULL, batch_checkpoint = NULL, batch_events = least(s.batch_events + 10, :most_events),
    checkpoint = coalesce(:checkpoint, s.checkpoint),
    checkpoint_at = CASE WHEN CAST(:checkpoint AS bigint) IS NULL THEN s.checkpoint_at ELSE now() END, failures = 0,
    failing_since = NULL, error = NULL, status_code = coalesce(:status_code, s.status_code),
    delivered_at = CASE WHEN CAST(:status_code AS integer) IS NULL THEN s.delivered_at ELSE now() END,
    leased_until = CASE WHEN :goes_on THEN now() + :held END, lease = CASE WHEN :goes_on THEN s.lease END,
    due_at = now() + CASE WHEN :goes_on THEN interval '0' ELSE :rest END
WHERE id = :id AND lease = :lease
RETURNING s.*
""")
_FAILED = text("""
UPDATE audit_sinks SET failures = failures + 1, failing_since = coalesce(failing_since, now()), error = :error,
    status_code = :status_code, due_at = now() + :pause, lease = NULL, leased_until = NULL
WHERE id = :id AND lease = :lease AND revision = :revision
""")
_SMALLER = text("""
UPDATE audit_sinks SET batch_epoch = NULL, batch_xact = NULL, batch_seq = NULL, batch_checkpoint = NULL,
    batch_events = :events, due_at = now(), lease = NULL, leased_until = NULL
WHERE id = :id AND lease = :lease AND revision = :revision
""")
_RELEASE = text("""
UPDATE audit_sinks SET lease = NULL, leased_until = NULL, due_at = greatest(due_at, now() + :pause)
WHERE id = :id AND lease = :lease
""")
_MISSED = """
UPDATE audit_sinks s SET missed_at = now() WHERE s.ended_at IS NULL AND EXISTS (
    SELECT FROM {} e WHERE e.epoch > s.epoch OR (e.epoch = s.epoch AND (e.xact, e.seq) > (s.xact, s.seq))
)
"""


def position(sink: AuditSink) -> Position:
    """The position up to which all events were accepted."""
    return (sink.epoch, sink.xact, sink.seq)


def pending_batch(sink: AuditSink) -> BatchEnd | None:
    """The end of the batch that was begun and not accepted yet."""
    if sink.batch_epoch is None or sink.batch_xact is None or sink.batch_seq is None:
        return None
    return BatchEnd((sink.batch_epoch, sink.batch_xact, sink.batch_seq), sink.batch_checkpoint)


async def claim(session: AsyncSession, limit: int) -> list[AuditSink]:
    """Claim up to ``limit`` free sinks with pending events; return them in their state at that time."""
    values = {"limit": limit, "lease": new_id(), "held": LEASE}
    return list(await session.scalars(select(AuditSink).from_statement(_CLAIM), values))


async def begin(session: AsyncSession, sink: AuditSink, batch: BatchEnd) -> bool:
    """Store the batch that is about to be sent, and extend the lease for the attempt.

    False if the sink is not this worker's any more, or has changed since it was claimed.
    """
    values = _batch(batch) | {"held": LEASE, "revision": sink.revision}
    return (await session.execute(_BEGIN, _lease_parameters(sink) | values)).first() is not None


async def record_accepted(
    session: AsyncSession, sink: AuditSink, batch: BatchEnd, status_code: int | None, rest: timedelta | None
) -> AuditSink | None:
    """Record that the endpoint accepted the batch, or that there was nothing to send (``status_code`` is None).

    Returns the sink to continue with, None if it is to ``rest`` or is not this worker's any more.
    """
    values = _batch(batch) | {"status_code": status_code, "most_events": MAX_BATCH_EVENTS, "held": LEASE}
    values |= _lease_parameters(sink) | {"goes_on": rest is None, "rest": rest or timedelta()}
    statement = select(AuditSink).from_statement(_ACCEPTED)
    accepted: AuditSink | None = (await session.scalars(statement, values)).one_or_none()
    if accepted is None or rest is not None:
        return None
    if accepted.status != "active" or accepted.ended_at is not None:
        await release(session, sink, timedelta())
        return None
    return accepted


async def record_failure(
    session: AsyncSession, sink: AuditSink, *, status_code: int | None, error: str, pause: timedelta
) -> None:
    """Record a failed attempt: the next worker sends the same batch again after the pause."""
    values = {"status_code": status_code, "error": error, "pause": pause, "revision": sink.revision}
    await session.execute(_FAILED, _lease_parameters(sink) | values)


async def make_smaller(session: AsyncSession, sink: AuditSink, events: int) -> None:
    """Record that the batch was too large: it is sent again from the same place with this many events."""
    values = {"events": events, "revision": sink.revision}
    await session.execute(_SMALLER, _lease_parameters(sink) | values)


async def release(session: AsyncSession, sink: AuditSink, pause: timedelta) -> None:
    """Release the sink, not to be claimed before the pause is over."""
    await session.execute(_RELEASE, _lease_parameters(sink) | {"pause": pause})


async def record_missed(connection: Connection, partition: str) -> None:
    """Record for every sink with undelivered events of a month that this month is about to be dropped.

    For the owner of the tables. ``partition`` is the name of a table, never input.
    """
    await connection.execute(_MISSED.format(partition))


def _lease_parameters(sink: AuditSink) -> dict[str, Any]:
    return {"id": sink.id, "lease": sink.lease}


def _batch(batch: BatchEnd) -> dict[str, Any]:
    epoch, xact, seq = batch.end
    return {"epoch": epoch, "xact": xact, "seq": seq, "checkpoint": batch.checkpoint}
