"""Deliver the audit log to sinks: each worker claims free sinks and sends batch after batch."""

import asyncio
import gzip
from collections.abc import Collection
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.keys import Sealer, UnsealingFault
from app.db.jobs import LeasedQueue
from app.features.audit_sinks.batches import FORMATS, Batch, next_batch
from app.features.audit_sinks.queue import (
    LEASE,
    begin,
    claim,
    make_smaller,
    pending_batch,
    record_accepted,
    record_failure,
    release,
)
from app.features.audit_sinks.service import open_credential
from app.lib.ids import AUDIT_SINK, format_id
from app.models.audit import AuditSink
from app.outbound.delivery import Attempt, post, spread_pause
from app.outbound.http import NotForwarded, OutboundClient, Timeouts

TIMEOUTS = Timeouts(connect=5.0, first_byte=20.0, idle=5.0, total=25.0)
"""Shorter than the lease, including the time to connect."""
MAX_SINKS = 4
"""Sinks that one worker delivers to at a time."""
FIRST_PAUSE, MAX_PAUSE = timedelta(seconds=5), timedelta(minutes=5)
"""The pause after the first failure, and its maximum."""
BATCH_DELAY = timedelta(seconds=1)
"""The pause after a batch that was not full, to collect more events."""
_TOO_LARGE = 413
# Of 9: events of a batch are alike, and a higher level saves little more.
_LEVEL = 6


class AuditDeliveries(LeasedQueue[AuditSink]):
    """The delivery to sinks by one worker. A batch in transfer is sent again when its lease expires."""

    name = "looking for audit sinks"
    every_s = 1.0
    max_items = MAX_SINKS

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        sealer: Sealer,
        outbound: OutboundClient,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        super().__init__(sessions)
        self._sealer, self._outbound, self._timeouts = sealer, outbound, timeouts

    def label(self, item: AuditSink) -> str:
        return f"the audit sink {format_id(AUDIT_SINK, item.id)}"

    async def claim(
        self, session: AsyncSession, limit: int, current: Collection[AuditSink]
    ) -> list[AuditSink]:
        return await claim(session, limit)

    async def record_fault(self, item: AuditSink) -> None:
        """Show a bug as an error of the sink, and pause it as after any failure."""
        await self._failed(item, Attempt(error="internal"))

    async def work(self, item: AuditSink) -> AuditSink | None:
        """Send one batch; return the sink to continue with, or None to leave it."""
        until = asyncio.get_running_loop().time() + LEASE.total_seconds() / 2
        async with self._connections, self._sessions() as session:
            batch = await next_batch(session, item)
        if batch is None:
            await self._release(item)
            return None
        if not batch.body:
            return await self._accepted(item, batch, None)
        async with self.transaction() as session:
            is_mine = await begin(session, item, batch.end)
        # failpoint: before_sink_batch
        attempt = await self._attempt(item, batch, until) if is_mine else None
        # failpoint: after_sink_batch
        if attempt is None:
            await self._release(item)
            return None
        if attempt.error is None:
            return await self._accepted(item, batch, attempt.status_code)
        if attempt.status_code == _TOO_LARGE and batch.events > 1:
            async with self.transaction() as session:
                await make_smaller(session, item, batch.events // 2)
                # One that was changed in between can be claimed again immediately.
                await release(session, item, timedelta())
        else:
            await self._failed(item, attempt)
        return None

    async def _attempt(self, sink: AuditSink, batch: Batch, until: float) -> Attempt | None:
        """Send a batch once. None: nothing was sent, since the connection was open too late."""
        headers = [
            (b"Content-Type", FORMATS[sink.format].media_type),
            (b"Scopegate-Batch-Id", batch.id.encode("ascii")),
        ]
        try:
            headers += open_credential(self._sealer, sink)
        except UnsealingFault:
            return Attempt(error="decryption_failed")
        body = batch.body
        if sink.compression == "gzip":
            # Compressing a megabyte takes about 20 ms, which must not block others. Without a time, the same batch
            # always has the same bytes.
            body = await asyncio.to_thread(gzip.compress, body, _LEVEL, mtime=0)
            headers.append((b"Content-Encoding", b"gzip"))
        # A worker that was suspended for long must not send what another has sent already.
        loop = asyncio.get_running_loop()
        try:
            return await post(
                self._outbound, sink.url, headers, body, self._timeouts, lambda: loop.time() < until
            )
        except NotForwarded:
            return None

    async def _accepted(self, sink: AuditSink, batch: Batch, status_code: int | None) -> AuditSink | None:
        rest = None if batch.is_full or pending_batch(sink) is not None or not batch.body else BATCH_DELAY
        async with self.transaction() as session:
            return await record_accepted(session, sink, batch.end, status_code=status_code, rest=rest)

    async def _failed(self, sink: AuditSink, attempt: Attempt) -> None:
        error = "too_large" if attempt.status_code == _TOO_LARGE else attempt.error or "protocol"
        pause = pause_after(sink.failures + 1, attempt.pause_s)
        async with self.transaction() as session:
            await record_failure(session, sink, status_code=attempt.status_code, error=error, pause=pause)
            await release(session, sink, timedelta())

    async def _release(self, sink: AuditSink) -> None:
        async with self.transaction() as session:
            await release(session, sink, BATCH_DELAY)


def pause_after(failures: int, pause_s: float = 0.0) -> timedelta:
    """The pause before the next attempt, after this many failures in a row."""
    return spread_pause(min(FIRST_PAUSE * (1 << min(failures - 1, 10)), MAX_PAUSE), pause_s)
