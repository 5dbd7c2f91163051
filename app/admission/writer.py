"""Admission: the check rides on the write.

One connection a worker sends, whenever it is free, all rows that wait by then in one statement that writes each
row only if everything it rests on still has the version that was read. A written allow may run. There is no
timer and no row lock; concurrent calls share a commit.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, TypeVar
from uuid import UUID

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from app.access.snapshot import DatabaseClock
from app.admission.rows import (
    STATEMENT,
    STATEMENT_WITH_CLIENTS,
    Outcome,
    Row,
    arguments_of,
    clients_of,
    statement_for,
)
from app.db.connection import DRIVER_FAULTS, GuardedConnection
from app.db.recorder_health import Trouble
from app.db.rewinds import RewindGuard
from app.lib.clock import boot_time
from app.lib.ids import new_id

DEADLINE_S = 1.5
BATCH = 512
WAITING = 20_000
# How long an outcome waits for a call to share a commit with.
COMPANY_S = 0.02
_LOOK_EVERY_S = 0.1
_LONGEST_MS = 2**31 - 1
_DATA_CLASSES = ("22", "23", "54")
_NO_PARTITION = "23514"
_NO_EPOCH = "23502"
_WRITTEN = "SELECT id FROM audit_events WHERE id = ANY($1) AND time > now() - interval '1 day'"


Item = TypeVar("Item")


class AdmissionUnavailable(Exception):
    """The row could not be written in time: nothing may run."""


@dataclass(slots=True)
class _Waiting:
    row: Row
    answer: asyncio.Future[float | None]
    deadline: float


class _Batch(NamedTuple):
    """Rows of one statement: calls, which wait for the answer, and what nobody waits for."""

    calls: Sequence[_Waiting]
    later: Sequence[Row | Outcome]

    def halves(self) -> tuple["_Batch", "_Batch"]:
        if self.calls and self.later:
            return _Batch(self.calls, ()), _Batch((), self.later)
        calls, later = len(self.calls) // 2, len(self.later) // 2
        return _Batch(self.calls[:calls], self.later[:later]), _Batch(self.calls[calls:], self.later[later:])


class AdmissionWriter:
    """Batches rows into guarded statements on one connection of its own."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[GuardedConnection]],
        clock: DatabaseClock,
        worker_id: UUID,
        digest_key_id: str,
        trouble: Trouble | None = None,
        rewinds: RewindGuard | None = None,
    ) -> None:
        self._trouble = Trouble() if trouble is None else trouble
        self._rewinds = RewindGuard() if rewinds is None else rewinds
        self._connect = connect
        self._clock = clock
        self._worker_id = worker_id
        self._digest_key_id = digest_key_id
        self._queue: deque[_Waiting] = deque()
        self._later: deque[Row | Outcome] = deque(maxlen=WAITING)
        self._unsure: deque[Row | Outcome] = deque(maxlen=WAITING)
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: GuardedConnection | None = None
        self._statements: dict[str, PreparedStatement[asyncpg.Record]] = {}
        self._opened_in_vain = False
        self._closing = False

    async def write(self, row: Row) -> float | None:
        """Write one guarded row; None when its grounds have moved or its span is over.

        Returns when the statement that wrote it was sent, of ``boot_time``: the row is no newer than that, however
        late its answer is read.

        Raises ``AdmissionUnavailable`` when the answer does not come within the deadline.
        """
        if self._closing or len(self._queue) >= WAITING:
            raise AdmissionUnavailable
        if self._loop is None:
            # Python 3.11 asks the operating system each time whose loop it is.
            self._loop = asyncio.get_running_loop()
        answer: asyncio.Future[float | None] = self._loop.create_future()
        self._queue.append(_Waiting(row, answer, boot_time() + DEADLINE_S))
        self._wake.set()
        return await answer

    def write_later(self, row: Row | Outcome) -> None:
        """Queue an unguarded row (an outcome, a count); it rides with the next statement."""
        if not self._later:
            self._wake.set()
        self._later.append(row)

    async def run(self) -> None:
        """Serve the queue until ``close``; the composition root runs this as a task."""
        while self._queue or self._later or not self._closing:
            if not self._queue and not await self._due():
                continue
            if await self._connected():
                await self._send(self._next_batch())
        if self._connection is not None:
            await self._connection.close(timeout=1)

    async def _due(self) -> bool:
        """Whether the rows that nobody waits for should go now, without a call to ride with.

        A lone caller's next call would otherwise wait behind the commit of its last one's outcome.
        """
        self._wake.clear()
        if not self._later:
            await self._wake.wait()
            return False
        if not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(COMPANY_S):
                    await self._wake.wait()
        return True

    def _next_batch(self) -> _Batch:
        return _Batch(_taken(self._queue), _taken(self._later))

    def close(self) -> None:
        """Finish what waits, then end ``run``."""
        self._closing = True
        self._wake.set()

    async def _connected(self) -> bool:
        if self._connection is not None and not self._connection.is_closed():
            return True
        if self._opened_in_vain:
            # It takes connections and no rows, as on a full disk: opening the next at once would never end.
            await asyncio.sleep(_LOOK_EVERY_S)
            self._expire(boot_time())
        opening = asyncio.create_task(self._open())
        try:
            while not opening.done():
                # Opening may hang, and whoever came meanwhile has a deadline too.
                await asyncio.wait([opening], timeout=_LOOK_EVERY_S)
                self._expire(boot_time())
        finally:
            opening.cancel()
        if opening.result():
            return True
        if self._closing:
            self._fail(self._queue)
            self._queue.clear()
            self._later.clear()
        # A database that is away refuses at once; do not spin on it.
        await asyncio.sleep(_LOOK_EVERY_S)
        return False

    async def _open(self) -> bool:
        connection: GuardedConnection | None = None
        try:
            async with asyncio.timeout(DEADLINE_S):
                connection = await self._connect()
                self._statements = {
                    text: await connection.prepare(text) for text in (STATEMENT, STATEMENT_WITH_CLIENTS)
                }
                await self._take_up_again(connection)
        except DRIVER_FAULTS as error:
            self._trouble.found(error)
            return False
        else:
            self._connection, self._opened_in_vain = connection, True
            return True
        finally:
            if connection is not None and connection is not self._connection:
                connection.terminate()

    async def _take_up_again(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Queue anew those outcomes and counts whose statement had no answer and that it did not write.

        One that is being written at this very moment may come to stand twice, under the same id.
        """
        if not self._unsure:
            return
        written = {row["id"] for row in await connection.fetch(_WRITTEN, [row.id for row in self._unsure])}
        self._later.extend(row for row in self._unsure if row.id not in written)
        self._unsure.clear()

    def _expire(self, now: float) -> None:
        kept: deque[_Waiting] = deque()
        for waiting in self._queue:
            if waiting.answer.done():
                continue
            if waiting.deadline - DEADLINE_S / 2 <= now:
                waiting.answer.set_exception(AdmissionUnavailable())
            else:
                kept.append(waiting)
        self._queue = kept

    async def _send(self, batch: _Batch) -> None:
        # A caller that is gone needs no row: what is cancelled here was never sent.
        calls, later = [waiting for waiting in batch.calls if not waiting.answer.done()], batch.later
        batch = _Batch(calls, later)
        if not calls and not later:
            return
        sent = boot_time()
        # Who came first is first out of time.
        remaining = calls[0].deadline - sent if calls else DEADLINE_S
        try:
            async with asyncio.timeout(max(0.05, min(remaining, DEADLINE_S))):
                record = await self._execute(batch)
        except asyncpg.PostgresError as error:
            await self._refused(batch, error)
        except (*DRIVER_FAULTS, ValueError, OverflowError) as error:
            if isinstance(error, asyncpg.DataError):
                await self._split(batch)
            else:
                self._trouble.found(error)
                self._lost(batch)
        else:
            self._trouble.over()
            self._opened_in_vain = False
            self._clock.learn(record["at"], sent, boot_time())
            if self._unsure:
                # What this connection could not write for want of a partition: there is one again.
                self._later.extend(self._unsure)
                self._unsure.clear()
            # Which rows were written is told only when some were not.
            every = record["written"] == len(calls) + len(later)
            written = () if every else frozenset(record["ids"] or ())
            for waiting in calls:
                if not waiting.answer.done():
                    waiting.answer.set_result(sent if every or waiting.row.id in written else None)

    async def _execute(self, batch: _Batch) -> asyncpg.Record:
        if self._connection is None:
            raise asyncpg.InterfaceError("there is no connection")
        rows, outcomes = [waiting.row for waiting in batch.calls], []
        for row in batch.later:
            if isinstance(row, Outcome):
                outcomes.append(row)
            else:
                rows.append(row)
        clients = clients_of(rows)
        values = arguments_of(rows, outcomes, clients, self._worker_id, self._digest_key_id)
        text = statement_for(rows, clients)
        statement = self._statements.get(text)
        if statement is None:
            statement = self._statements[text] = await self._connection.prepare(text)
        # failpoint: before_admission
        [record] = await statement.fetch(*values)
        # failpoint: after_admission
        self._connection.check_replicated()
        if record["fell"]:
            self._rewinds.fell()
        self._rewinds.wrote(record["epoch"], record["xact"])
        return record

    async def _refused(self, batch: _Batch, error: asyncpg.PostgresError) -> None:
        state = str(error.sqlstate)
        if not state.startswith(_DATA_CLASSES) or state in {_NO_PARTITION, _NO_EPOCH}:
            self._trouble.found(error)
        if state == _NO_EPOCH and self._connection is not None:
            # The log's position moved to another timeline under us; the next connection opens its epoch.
            self._lost(batch, committed_perhaps=False)
        elif state.startswith(_DATA_CLASSES) and state != _NO_PARTITION:
            await self._split(batch)
        elif state == _NO_PARTITION:
            self._fail(batch.calls)
            self._unsure.extend(batch.later)
        else:
            self._lost(batch)

    async def _split(self, batch: _Batch) -> None:
        """A bad value harms only the caller who brought it: halve until it stands alone."""
        if len(batch.calls) + len(batch.later) == 1:
            self._fail(batch.calls)
            return
        for half in batch.halves():
            if self._connection is not None:
                await self._send(half)
            else:
                # The connection went with the other half. This one was not written.
                self._fail(half.calls)
                self._later.extend(half.later)

    def _fail(self, calls: Iterable[_Waiting]) -> None:
        for waiting in calls:
            if not waiting.answer.done():
                waiting.answer.set_exception(AdmissionUnavailable())

    def _lost(self, batch: _Batch, *, committed_perhaps: bool = True) -> None:
        """Drop the connection. Rows may have committed although nobody will run them: say so once back."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None
        self._statements = {}
        self._fail(batch.calls)
        (self._unsure if committed_perhaps else self._later).extend(batch.later)
        if committed_perhaps:
            for waiting in batch.calls:
                if waiting.row.span is not None:
                    self.write_later(outcome_of(waiting.row.id, "not_forwarded", 0))


def _taken(queue: deque[Item]) -> list[Item]:
    return [queue.popleft() for _ in range(min(BATCH, len(queue)))]


def outcome_of(call_id: UUID, outcome: str, duration_ms: int) -> Outcome:
    """The ``tool.result`` row of a call; a stream that is taken up again after weeks took longer than can be told."""
    return Outcome(new_id(), call_id, outcome, min(duration_ms, _LONGEST_MS))
