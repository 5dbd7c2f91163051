"""Leases on sinks: one worker at a time delivers to a sink, and the position moves when a batch was accepted.

The lease of a lost worker expires, and the next worker sends the same batch: at-least-once delivery. A batch is stored
before it is sent, so that a repeat has the same events under the same id.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Integer, Interval, String, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.audit.queries import Position
from app.lib.ids import new_id

LEASE = timedelta(seconds=60)
"""Longer than an attempt takes."""
_CHECKPOINT_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class ClaimedSink:
    """A sink claimed by this worker, in its state at that time. The credential is encrypted."""

    id: UUID
    lease: UUID
    url: str
    format: str
    compression: str
    revision: int
    key_id: str | None
    sealed: bytes | None = field(repr=False)
    position: Position
    begun: "BatchEnd | None"
    batch_events: int
    checkpoint: int | None
    wants_checkpoint: bool
    """Whether a checkpoint is due, since the last one is a minute old."""
    failures: int


@dataclass(frozen=True, slots=True)
class BatchEnd:
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
    ORDER BY s.due_at LIMIT :most FOR UPDATE OF s SKIP LOCKED
)
UPDATE audit_sinks s SET lease = :lease, leased_until = now() + :held FROM due WHERE s.id = due.id
RETURNING s.*, now() AS now
""").bindparams(bindparam("held", type_=Interval))
_BEGIN = text("""
UPDATE audit_sinks SET batch_epoch = :epoch, batch_xact = :xact, batch_seq = :seq, batch_checkpoint = :checkpoint,
    leased_until = now() + :held
WHERE id = :id AND lease = :lease AND revision = :revision AND status = 'active' AND ended_at IS NULL RETURNING id
""").bindparams(bindparam("held", type_=Interval), bindparam("checkpoint", type_=BigInteger))
# Grows by a little each time, and is halved when it was too large: soon the size fits the endpoint.
_TAKEN = text("""
UPDATE audit_sinks s SET epoch = :epoch, xact = :xact, seq = :seq, batch_epoch = NULL, batch_xact = NULL,
    batch_seq = NULL, batch_checkpoint = NULL, batch_events = least(s.batch_events + 10, :most_events),
    checkpoint = coalesce(:checkpoint, s.checkpoint),
    checkpoint_at = CASE WHEN CAST(:checkpoint AS bigint) IS NULL THEN s.checkpoint_at ELSE now() END, failures = 0,
    failing_since = NULL, error = NULL, status_code = coalesce(:status_code, s.status_code),
    delivered_at = CASE WHEN CAST(:status_code AS integer) IS NULL THEN s.delivered_at ELSE now() END,
    leased_until = CASE WHEN :goes_on THEN now() + :held END, lease = CASE WHEN :goes_on THEN s.lease END,
    due_at = now() + CASE WHEN :goes_on THEN interval '0' ELSE :rest END
WHERE id = :id AND lease = :lease
RETURNING s.*, now() AS now, s.status = 'active' AND s.ended_at IS NULL AS is_live
""").bindparams(
    bindparam("held", type_=Interval),
    bindparam("rest", type_=Interval),
    bindparam("checkpoint", type_=BigInteger),
    bindparam("status_code", type_=Integer),
)
_FAILED = text("""
UPDATE audit_sinks SET failures = failures + 1, failing_since = coalesce(failing_since, now()), error = :error,
    status_code = :status_code, due_at = now() + :pause, lease = NULL, leased_until = NULL
WHERE id = :id AND lease = :lease AND revision = :revision
""").bindparams(
    bindparam("pause", type_=Interval),
    bindparam("status_code", type_=Integer),
    bindparam("error", type_=String),
)
_SMALLER = text("""
UPDATE audit_sinks SET batch_epoch = NULL, batch_xact = NULL, batch_seq = NULL, batch_checkpoint = NULL,
    batch_events = :events, due_at = now(), lease = NULL, leased_until = NULL
WHERE id = :id AND lease = :lease AND revision = :revision
""")
_RELEASE = text("""
UPDATE audit_sinks SET lease = NULL, leased_until = NULL, due_at = greatest(due_at, now() + :pause)
WHERE id = :id AND lease = :lease
""").bindparams(bindparam("pause", type_=Interval))


async def claim(session: AsyncSession, limit: int) -> list[ClaimedSink]:
    """Claim up to ``limit`` free sinks with pending events."""
    lease = new_id()
    rows = await session.execute(_CLAIM, {"most": limit, "lease": lease, "held": LEASE})
    return [_to_claim(row, lease) for row in rows]


async def begin(session: AsyncSession, claimed: ClaimedSink, batch: BatchEnd) -> bool:
    """Store the batch that is about to be sent, and extend the lease for the attempt.

    False if the sink is not this worker's any more, or has changed since it was claimed.
    """
    values = _batch(batch) | {"held": LEASE, "revision": claimed.revision}
    return (await session.execute(_BEGIN, _lease_parameters(claimed) | values)).first() is not None


async def record_accepted(
    session: AsyncSession,
    claimed: ClaimedSink,
    batch: BatchEnd,
    *,
    status_code: int | None,
    most_events: int,
    rest: timedelta | None,
) -> ClaimedSink | None:
    """Record that the endpoint accepted the batch, or that there was nothing to send (``status_code`` is None).

    Returns the claim to continue with, None if the sink is to ``rest`` or is not this worker's any more.
    """
    values = _batch(batch) | {"status_code": status_code, "most_events": most_events, "held": LEASE}
    values |= {"goes_on": rest is None, "rest": rest or timedelta()}
    row = (await session.execute(_TAKEN, _lease_parameters(claimed) | values)).one_or_none()
    if row is None or rest is not None:
        return None
    if not row.is_live:
        await release(session, claimed, timedelta())
        return None
    return _to_claim(row, claimed.lease)


async def record_failure(
    session: AsyncSession, claimed: ClaimedSink, *, status_code: int | None, error: str, pause: timedelta
) -> None:
    """Record a failed attempt: the next worker sends the same batch again after the pause."""
    values = {"status_code": status_code, "error": error, "pause": pause, "revision": claimed.revision}
    await session.execute(_FAILED, _lease_parameters(claimed) | values)


async def make_smaller(session: AsyncSession, claimed: ClaimedSink, events: int) -> None:
    """Record that the batch was too large: it is sent again from the same place with this many events."""
    await session.execute(
        _SMALLER, _lease_parameters(claimed) | {"events": events, "revision": claimed.revision}
    )


async def release(session: AsyncSession, claimed: ClaimedSink, pause: timedelta) -> None:
    """Release the sink, not to be claimed before the pause is over."""
    await session.execute(_RELEASE, _lease_parameters(claimed) | {"pause": pause})


def _lease_parameters(claimed: ClaimedSink) -> dict[str, Any]:
    return {"id": claimed.id, "lease": claimed.lease}


def _batch(batch: BatchEnd) -> dict[str, Any]:
    epoch, xact, seq = batch.end
    return {"epoch": epoch, "xact": xact, "seq": seq, "checkpoint": batch.checkpoint}


def _to_claim(row: Any, lease: UUID) -> ClaimedSink:
    begun = None
    if row.batch_xact is not None:
        begun = BatchEnd((row.batch_epoch, row.batch_xact, row.batch_seq), row.batch_checkpoint)
    return ClaimedSink(
        id=row.id,
        lease=lease,
        url=row.url,
        format=row.format,
        compression=row.compression,
        revision=row.revision,
        key_id=row.key_id,
        sealed=row.sealed,
        position=(row.epoch, row.xact, row.seq),
        begun=begun,
        batch_events=row.batch_events,
        checkpoint=row.checkpoint,
        wants_checkpoint=row.checkpoint_at is None or row.checkpoint_at <= row.now - _CHECKPOINT_EVERY,
        failures=row.failures,
    )
