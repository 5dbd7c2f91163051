"""Giving the trail to sinks: each worker takes some that nobody has, sends batch after batch, and holds no connection
to the database while it sends.
"""

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
    Claimed,
    begin,
    claim,
    make_smaller,
    note_failed,
    note_taken,
    release,
)
from app.features.audit_sinks.send import TIMEOUTS, Attempt, send
from app.lib.ids import AUDIT_SINK, format_id
from app.lib.logs import log_fault
from app.models.audit_sinks import MOST_EVENTS
from app.outbound.http import OutboundClient, Timeouts

_log = logging.getLogger(__name__)
MOST = 4
"""How many sinks one worker gives to at a time."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=5)
"""After the first failure, and after so many of them."""
LINGER = timedelta(seconds=1)
"""After a batch that was not full: what comes meanwhile goes together."""
_LOOK_EVERY_S = 1.0
# What is read and noted must not take the connections of those who wait for answers.
_CONNECTIONS = 2
_TOO_LARGE = 413
# Nothing else that the database says: a table that may not be read, say, is no outage that ends by itself.
_AWAY = (Unavailable, *CONNECTION_ERRORS)
_spread = SystemRandom()


class AuditDeliveries:
    """One worker's share of giving the trail to sinks."""

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
        """Deliver until cancelled. What is being sent then is sent again by somebody, when its lease is over."""
        try:
            while True:
                await asyncio.sleep(_LOOK_EVERY_S * _spread.uniform(0.5, 1.0))
                try:
                    await self.round()
                except Exception as error:  # noqa: BLE001
                    # Whatever it is, it must not end the loop.
                    log_fault(_log, "looking for audit sinks", error)
        finally:
            for task in self._giving:
                task.cancel()
            await asyncio.gather(*self._giving, return_exceptions=True)

    async def round(self) -> int:
        """Begin to give to the sinks that something waits for and there is room for; how many they were."""
        room = MOST - len(self._giving)
        if room <= 0:
            return 0
        try:
            async with self._connections, self._sessions() as session:
                claimed = await claim(session, room)
                await session.commit()
        except _AWAY:
            # Others say that the database is away; what waits goes on waiting.
            return 0
        for one in claimed:
            task = asyncio.create_task(self._give(one), name="audit sink")
            self._giving.add(task)
            task.add_done_callback(self._giving.discard)
        return len(claimed)

    async def idle(self) -> None:
        """Wait until nothing is being given."""
        while self._giving:
            await asyncio.wait(self._giving)

    async def _give(self, claimed: Claimed) -> None:
        """Batch after batch, for as long as there are full ones and they are taken."""
        sink: Claimed | None = claimed
        try:
            while sink is not None:
                sink = await self._step(sink)
        except _AWAY:
            # Sent, perhaps, and not noted: it is sent again when its lease is over.
            return
        except Exception as error:  # noqa: BLE001
            # A fault of ours, since an attempt has a result whatever the endpoint does. Nobody waits for this task, so
            # it would go unseen, and the same may happen at each attempt.
            log_fault(_log, f"the audit sink {format_id(AUDIT_SINK, claimed.id)}", error)
            await self._note_fault(sink or claimed)

    async def _note_fault(self, claimed: Claimed) -> None:
        """Show a fault of ours to whoever looks at the sink, and leave it alone for a while as after any failure."""
        try:
            await self._failed(claimed, Attempt(error="internal"))
        except _AWAY:
            return
        except Exception as error:  # noqa: BLE001
            # It stays as it was, and is tried again when its lease is over.
            log_fault(_log, f"noting the fault of the audit sink {format_id(AUDIT_SINK, claimed.id)}", error)

    async def _step(self, claimed: Claimed) -> Claimed | None:
        """Give one batch; how to go on, or None to leave the sink."""
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

    async def _attempt(self, claimed: Claimed, batch: Batch, until: float) -> Attempt | None:
        try:
            credential = open_credential(
                self._sealer, claimed.id, claimed.url, claimed.key_id, claimed.sealed
            )
        except UnsealingFault:
            return Attempt(error="decryption_failed")
        # A worker that was stopped for long must not send what another has sent and gone on from.
        loop = asyncio.get_running_loop()
        return await send(
            self._outbound, claimed, batch, credential, self._timeouts, lambda: loop.time() < until
        )

    async def _taken(self, claimed: Claimed, batch: Batch, status_code: int | None) -> Claimed | None:
        rest = None if batch.is_full or claimed.begun is not None or not batch.body else LINGER
        async with self._connections, self._sessions() as session:
            going_on = await note_taken(
                session, claimed, batch.begun, status_code=status_code, most_events=MOST_EVENTS, rest=rest
            )
            await session.commit()
        return going_on

    async def _halve(self, claimed: Claimed, batch: Batch) -> None:
        async with self._connections, self._sessions() as session:
            await make_smaller(session, claimed, batch.events // 2)
            # One that was changed meanwhile is nobody's again at once.
            await release(session, claimed, timedelta())
            await session.commit()

    async def _failed(self, claimed: Claimed, attempt: Attempt) -> None:
        async with self._connections, self._sessions() as session:
            await note_failed(
                session,
                claimed,
                status_code=attempt.status_code,
                error="too_large" if attempt.status_code == _TOO_LARGE else attempt.error or "protocol",
                pause=pause_after(claimed.failures + 1, attempt.pause_s),
            )
            await release(session, claimed, timedelta())
            await session.commit()

    async def _release(self, claimed: Claimed) -> None:
        async with self._connections, self._sessions() as session:
            await release(session, claimed, LINGER)
            await session.commit()


def pause_after(failures: int, pause_s: float = 0.0) -> timedelta:
    """How long after so many failures in a row the next attempt is.

    Spread, so that what failed together does not come together; and not before the endpoint wants it.
    """
    longer = min(FIRST_PAUSE * (1 << min(failures - 1, 10)), LONGEST_PAUSE)
    return max(longer * _spread.uniform(1.0, 1.2), timedelta(seconds=pause_s))
