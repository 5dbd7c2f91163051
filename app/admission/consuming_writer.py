"""The second lane: calls that take something with them, approvals and uses of quotas, which must not be taken twice.

It has a connection of its own, so that its locks hold up no other call. Calls that wait share a transaction, and are
settled in it in their order; what cannot be written down is not taken.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import asyncpg

from app.access.database_clock import DatabaseClock
from app.admission.consuming import Collided, Connection, Moved, settle
from app.admission.consuming_connection import OwnConnection, is_bad_value, lost_to_others
from app.admission.demands import Demand, Settlement
from app.admission.releases import Release, release
from app.admission.writer import DEADLINE_S, AdmissionUnavailable
from app.db.connection import DRIVER_FAULTS
from app.db.recorder_health import Trouble
from app.lib.clock import boot_time

BATCH = 64
WAITING = 5_000
_LOOK_EVERY_S = 0.1
Item = TypeVar("Item")
_FAULTS = (*DRIVER_FAULTS, ValueError, Collided)


@dataclass(slots=True)
class _Waiting:
    demand: Demand
    answer: asyncio.Future[Settlement | None]


class SecondLane:
    """Settles calls that demand something, in small batches."""

    def __init__(
        self,
        connect: Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]],
        clock: DatabaseClock,
        worker_id: UUID,
        digest_key_id: str,
        approval_ttl: float,
        trouble: Trouble | None = None,
    ) -> None:
        self._trouble = Trouble() if trouble is None else trouble
        self._connection = OwnConnection(connect)
        self._clock = clock
        self._worker_id = worker_id
        self._digest_key_id = digest_key_id
        self._ttl = approval_ttl
        self._queue: deque[_Waiting] = deque()
        self._releases: deque[Release] = deque(maxlen=WAITING)
        self._held: dict[UUID, Settlement] = {}
        self._wake = asyncio.Event()
        self._closing = False

    async def settle(self, demand: Demand) -> Settlement | None:
        """What becomes of a call; ``None`` when its grounds have moved or its span is over, and nothing is on record.

        Raises ``AdmissionUnavailable`` when the answer does not come within the deadline.
        """
        if self._closing or len(self._queue) >= WAITING:
            raise AdmissionUnavailable
        answer: asyncio.Future[Settlement | None] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(demand, answer))
        self._wake.set()
        try:
            # Whoever stops waiting cancels the answer with it, and what was taken meanwhile is given back.
            async with asyncio.timeout(DEADLINE_S):
                return await answer
        except TimeoutError:
            self._abandon(answer)
            raise AdmissionUnavailable from None
        except asyncio.CancelledError:
            self._abandon(answer)
            raise

    def _abandon(self, answer: asyncio.Future[Settlement | None]) -> None:
        """Give back what came in the very moment in which whoever waited left."""
        settlement = None if answer.cancelled() or not answer.done() else answer.result()
        if settlement is not None and self._held.pop(settlement.demand.id, None) is not None:
            self._give_back(settlement)

    def finish(self, call_id: UUID, outcome: str) -> bool:
        """Hear how a call ended; whether that is recorded here, with what it gives back as it was not forwarded."""
        settlement = self._held.pop(call_id, None)
        if settlement is None or outcome != "not_forwarded":
            return False
        self._give_back(settlement)
        return True

    def _give_back(self, settlement: Settlement) -> None:
        self._releases.append(Release.of(settlement))
        self._wake.set()

    async def run(self) -> None:
        """Serve until ``close``; the composition root runs this as a task."""
        while self._queue or self._releases or not self._closing:
            if not self._queue and not self._releases:
                self._wake.clear()
                await self._wake.wait()
            elif await self._connected():
                # What is given back first may be had by those who wait.
                await self._release()
                await self._serve(_next(self._queue))
            elif self._closing:
                break
        await self._connection.close()

    def close(self) -> None:
        """Finish what waits, then end ``run``."""
        self._closing = True
        self._wake.set()

    async def _connected(self) -> bool:
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._connection.open()
        except DRIVER_FAULTS as error:
            self._trouble.found(error)
            # A database that is away refuses at once; do not spin on it. Those who wait have deadlines of their own.
            await asyncio.sleep(_LOOK_EVERY_S)
            return False
        return True

    async def _serve(self, batch: Sequence[_Waiting]) -> None:
        """Settle calls together, and each for itself where one of them spoils it for the others."""
        # A caller that is gone needs nothing: what is cancelled here was never sent.
        batch = [waiting for waiting in batch if not waiting.answer.done()]
        if not batch:
            return
        settled: list[Settlement] = []
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._connection.transaction(lambda own: self._settle(own, batch, settled))
        except Moved:
            await self._serve_each(batch, stale=True)
        except _FAULTS as error:
            if is_bad_value(error):
                await self._serve_each(batch, stale=False)
                return
            self._note(error)
            self._fail(batch)
            for settlement in settled:
                # It may have been committed, and nobody will run it: say so once back.
                self._settled_for_nobody(settlement)
        else:
            self._trouble.over()
            for waiting, settlement in zip(batch, settled, strict=True):
                self._hand_over(waiting, settlement)

    async def _settle(
        self, connection: Connection, batch: Sequence[_Waiting], settled: list[Settlement]
    ) -> None:
        settled.clear()
        demands = [waiting.demand for waiting in batch]
        found, at, sent = await settle(
            connection, demands, ttl=self._ttl, worker_id=self._worker_id, digest_key_id=self._digest_key_id
        )
        self._clock.learn(at, sent, boot_time())
        settled.extend(found)

    async def _serve_each(self, batch: Sequence[_Waiting], *, stale: bool) -> None:
        """Serve each alone; one that is so already is to blame: it is stale, or cannot be written."""
        if len(batch) == 1:
            if not stale:
                self._fail(batch)
            elif not batch[0].answer.done():
                batch[0].answer.set_result(None)
            return
        for waiting in batch:
            if await self._connected():
                await self._serve([waiting])
            else:
                self._fail([waiting])

    def _hand_over(self, waiting: _Waiting, settlement: Settlement) -> None:
        if waiting.answer.done():
            self._settled_for_nobody(settlement)
            return
        if settlement.admitted:
            self._held[settlement.demand.id] = settlement
        waiting.answer.set_result(settlement)

    def _settled_for_nobody(self, settlement: Settlement) -> None:
        if settlement.admitted:
            self._give_back(settlement)

    def _fail(self, batch: Sequence[_Waiting]) -> None:
        for waiting in batch:
            if not waiting.answer.done():
                waiting.answer.set_exception(AdmissionUnavailable())

    def _note(self, error: BaseException) -> None:
        if not lost_to_others(error):
            self._trouble.found(error)

    async def _release(self) -> None:
        releases = _next(self._releases)
        if not releases:
            return
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._connection.transaction(
                    lambda own: release(
                        own, releases, worker_id=self._worker_id, digest_key_id=self._digest_key_id
                    )
                )
        except _FAULTS as error:
            self._note(error)
            self._releases.extendleft(reversed(releases))
            await asyncio.sleep(_LOOK_EVERY_S)


def _next(queue: deque[Item]) -> list[Item]:
    return [queue.popleft() for _ in range(min(BATCH, len(queue)))]
