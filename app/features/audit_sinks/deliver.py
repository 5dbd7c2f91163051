"""Deliver the audit log to sinks: each worker claims free sinks, sends batch after batch, and holds no database
connection while it sends."""

import asyncio
import logging
from datetime import timedelta
from random import SystemRandom

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.keys import Sealer, UnsealingFault
from app.db.engine import CONNECTION_ERRORS
from app.domain.errors import Unavailable
from app.features.audit_sinks.batches import Batch, next_batch
from app.features.audit_sinks.credentials import open_credential
from app.features.audit_sinks.queue import (
    LEASE,
    ClaimedSink,
    begin,
    claim,
    make_smaller,
    record_accepted,
    record_failure,
    release,
)
from app.features.audit_sinks.send import TIMEOUTS, Attempt, send
from app.lib.ids import AUDIT_SINK, format_id
from app.lib.logs import log_fault
from app.models.audit import MAX_BATCH_EVENTS
from app.outbound.http import OutboundClient, Timeouts

_log = logging.getLogger(__name__)
MAX_SINKS = 4
"""Sinks that one worker delivers to at a time."""
FIRST_PAUSE, MAX_PAUSE = timedelta(seconds=5), timedelta(minutes=5)
"""The pause after the first failure, and its maximum."""
BATCH_DELAY = timedelta(seconds=1)
"""The pause after a batch that was not full, to collect more events."""
_LOOK_EVERY_S = 1.0
# Delivery must not take the database connections of requests.
_CONNECTIONS = 2
_TOO_LARGE = 413
# Only outages: another database error, such as a missing permission, does not end by itself.
_AWAY = (Unavailable, *CONNECTION_ERRORS)
_spread = SystemRandom()


class AuditDeliveries:
    """The delivery task of one worker."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        sealer: Sealer,
        outbound: OutboundClient,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self._sessions = sessions
        self._sealer = sealer
        self._outbound = outbound
        self._timeouts = timeouts
        self._giving: set[asyncio.Task[None]] = set()
        self._connections = asyncio.Semaphore(_CONNECTIONS)

    async def run(self) -> None:
        """Deliver until cancelled. A batch in transfer is sent again when its lease expires."""
        try:
            while True:
                await asyncio.sleep(_LOOK_EVERY_S * _spread.uniform(0.5, 1.0))
                try:
                    await self.round()
                except Exception as error:  # noqa: BLE001
                    # No error may end the loop.
                    log_fault(_log, "looking for audit sinks", error)
        finally:
            for task in self._giving:
                task.cancel()
            await asyncio.gather(*self._giving, return_exceptions=True)

    async def round(self) -> int:
        """Start delivery to the sinks that have pending events, as far as there is room; return their number."""
        room = MAX_SINKS - len(self._giving)
        if room <= 0:
            return 0
        try:
            async with self._connections, self._sessions() as session:
                claimed = await claim(session, room)
                await session.commit()
        except _AWAY:
            # Others report that the database is unavailable; pending events stay.
            return 0
        for one in claimed:
            task = asyncio.create_task(self._give(one), name="audit sink")
            self._giving.add(task)
            task.add_done_callback(self._giving.discard)
        return len(claimed)

    async def idle(self) -> None:
        """Wait until all running deliveries have ended."""
        while self._giving:
            await asyncio.wait(self._giving)

    async def _give(self, claimed: ClaimedSink) -> None:
        """Send batch after batch, while they are full and accepted."""
        sink: ClaimedSink | None = claimed
        try:
            while sink is not None:
                sink = await self._step(sink)
        except _AWAY:
            # Perhaps sent, but not recorded: it is sent again when its lease expires.
            return
        except Exception as error:  # noqa: BLE001
            # A bug, since an attempt has a result for any behavior of the endpoint. No caller awaits this task, so the
            # error would go unnoticed, and could repeat at each attempt.
            log_fault(_log, f"the audit sink {format_id(AUDIT_SINK, claimed.id)}", error)
            await self._note_fault(sink or claimed)

    async def _note_fault(self, claimed: ClaimedSink) -> None:
        """Show a bug as an error of the sink, and pause it as after any failure."""
        try:
            await self._failed(claimed, Attempt(error="internal"))
        except _AWAY:
            return
        except Exception as error:  # noqa: BLE001
            # It stays unchanged, and is tried again when its lease expires.
            log_fault(_log, f"noting the fault of the audit sink {format_id(AUDIT_SINK, claimed.id)}", error)

    async def _step(self, claimed: ClaimedSink) -> ClaimedSink | None:
        """Send one batch; return the claim to continue with, or None to leave the sink."""
        until = asyncio.get_running_loop().time() + LEASE.total_seconds() / 2
        async with self._connections, self._sessions() as session:
            batch = await next_batch(session, claimed)
        if batch is None:
            await self._release(claimed)
            return None
        if not batch.body:
            return await self._taken(claimed, batch, None)
        async with self._connections, self._sessions() as session:
            is_mine = await begin(session, claimed, batch.begun)
            await session.commit()
        # failpoint: before_sink_batch
        attempt = await self._attempt(claimed, batch, until) if is_mine else None
        # failpoint: after_sink_batch
        if attempt is None:
            await self._release(claimed)
            return None
        if attempt.error is None:
            return await self._taken(claimed, batch, attempt.status_code)
        if attempt.status_code == _TOO_LARGE and batch.events > 1:
            await self._halve(claimed, batch)
        else:
            await self._failed(claimed, attempt)
        return None

    async def _attempt(self, claimed: ClaimedSink, batch: Batch, until: float) -> Attempt | None:
        try:
            credential = open_credential(
                self._sealer, claimed.id, claimed.url, claimed.key_id, claimed.sealed
            )
        except UnsealingFault:
            return Attempt(error="decryption_failed")
        # A worker that was suspended for long must not send what another has sent already.
        loop = asyncio.get_running_loop()
        return await send(
            self._outbound, claimed, batch, credential, self._timeouts, lambda: loop.time() < until
        )

    async def _taken(self, claimed: ClaimedSink, batch: Batch, status_code: int | None) -> ClaimedSink | None:
        rest = None if batch.is_full or claimed.begun is not None or not batch.body else BATCH_DELAY
        async with self._connections, self._sessions() as session:
            going_on = await record_accepted(
                session,
                claimed,
                batch.begun,
                status_code=status_code,
                most_events=MAX_BATCH_EVENTS,
                rest=rest,
            )
            await session.commit()
        return going_on

    async def _halve(self, claimed: ClaimedSink, batch: Batch) -> None:
        async with self._connections, self._sessions() as session:
            await make_smaller(session, claimed, batch.events // 2)
            # One that was changed in between can be claimed again immediately.
            await release(session, claimed, timedelta())
            await session.commit()

    async def _failed(self, claimed: ClaimedSink, attempt: Attempt) -> None:
        async with self._connections, self._sessions() as session:
            await record_failure(
                session,
                claimed,
                status_code=attempt.status_code,
                error="too_large" if attempt.status_code == _TOO_LARGE else attempt.error or "protocol",
                pause=pause_after(claimed.failures + 1, attempt.pause_s),
            )
            await release(session, claimed, timedelta())
            await session.commit()

    async def _release(self, claimed: ClaimedSink) -> None:
        async with self._connections, self._sessions() as session:
            await release(session, claimed, BATCH_DELAY)
            await session.commit()


def pause_after(failures: int, pause_s: float = 0.0) -> timedelta:
    """The pause before the next attempt, after this many failures in a row.

    It is randomized, so that sinks that failed together are not retried together, and respects the pause that the
    endpoint asks for.
    """
    longer = min(FIRST_PAUSE * (1 << min(failures - 1, 10)), MAX_PAUSE)
    return max(longer * _spread.uniform(1.0, 1.2), timedelta(seconds=pause_s))
