"""The admission writer: a call may run once its audit row is written, and the write checks its dependencies.

Each worker has one connection. Whenever it is free, one statement sends all queued rows and writes each row only if
all its dependencies still have the versions that were read. No timer and no row lock is involved, and concurrent calls
share a commit.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar
from uuid import UUID

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from app.admission.rows import (
    STATEMENT,
    STATEMENT_WITH_CLIENTS,
    Outcome,
    Row,
    arguments_of,
    clients_of,
    statement_for,
)
from app.db.clock import DatabaseClock
from app.db.connection import DRIVER_FAULTS, GuardedConnection
from app.db.recorder_health import RecorderHealth
from app.db.rewinds import RewindGuard
from app.domain.errors import StoreUnavailable
from app.lib.clock import boot_time
from app.lib.ids import new_id

DEADLINE_S = 1.5
_RETRY_EVERY_S = 0.1
BATCH = 512
WAITING = 20_000
# How long an outcome waits for a call whose commit it can share.
OUTCOME_DELAY_S = 0.02
_MAX_DURATION_MS = 2**31 - 1
_DATA_CLASSES = ("22", "23", "54")
_NO_PARTITION = "23514"
_NO_EPOCH = "23502"
_WRITTEN = "SELECT id FROM audit_events WHERE id = ANY($1) AND time > now() - interval '1 day'"


Item = TypeVar("Item")


_QueuedCall = tuple[Row, asyncio.Future[float | None], float]
"""A row, its answer, and the deadline. A tuple, because each call makes one."""


class _Batch(NamedTuple):
    """The rows of one statement: calls, which wait for the result, and other rows, which do not."""

    calls: Sequence[_QueuedCall]
    later: Sequence[Row | Outcome]

    def halves(self) -> tuple["_Batch", "_Batch"]:
        if self.calls and self.later:
            return _Batch(self.calls, ()), _Batch((), self.later)
        calls, later = len(self.calls) // 2, len(self.later) // 2
        return _Batch(self.calls[:calls], self.later[:later]), _Batch(self.calls[calls:], self.later[later:])


class ConnectionLoop(ABC):
    """Work that arrives while the worker runs, done on a database connection of its own.

    The connection is opened again whenever it is lost. Without it, work waits for at most its own deadline.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[GuardedConnection]], health: RecorderHealth | None = None
    ) -> None:
        self._connect = connect
        self._health = RecorderHealth() if health is None else health
        self._connection: GuardedConnection | None = None
        self._is_unproven = False
        self._wake = asyncio.Event()
        self._closing = False

    @abstractmethod
    def has_work(self) -> bool:
        """Whether any work is queued."""

    @abstractmethod
    async def work(self) -> None:
        """Do some of the queued work. Set ``_is_unproven`` to ``False`` when the connection has committed."""

    async def opened(self, connection: GuardedConnection) -> None:  # noqa: B027
        """Prepare a new connection. Raises ``DRIVER_FAULTS``, and then it is not used."""

    def expire(self) -> None:  # noqa: B027
        """Give up on queued work that is overdue, while the connection opens."""

    async def run(self) -> None:
        """Work until ``close``, and then until nothing is queued, or the database is unavailable."""
        while self.has_work() or not self._closing:
            if not await self.wait():
                continue
            if await self._ensure_connected():
                await self.work()
            elif self._closing:
                break
        if self._connection is not None:
            await self._connection.close(timeout=1)

    def close(self) -> None:
        """Finish the queued work, then end ``run``."""
        self._closing = True
        self._wake.set()

    async def wait(self) -> bool:
        """Whether to work now; otherwise wait for ``_wake``."""
        if self.has_work():
            return True
        self._wake.clear()
        await self._wake.wait()
        return False

    def drop_connection(self) -> None:
        """Terminate the connection."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None

    async def _ensure_connected(self) -> bool:
        if self._connection is not None and not self._connection.is_closed():
            return True
        if self._is_unproven:
            # The last connection committed nothing, as on a full disk: do not reopen in a tight loop.
            await asyncio.sleep(_RETRY_EVERY_S)
            self.expire()
        opening = asyncio.create_task(self._open())
        try:
            while not opening.done():
                # Opening can hang, and work that arrives during it has deadlines too.
                await asyncio.wait([opening], timeout=_RETRY_EVERY_S)
                self.expire()
        finally:
            opening.cancel()
        if not opening.result():
            # A database that is down refuses at once; do not spin on it.
            await asyncio.sleep(_RETRY_EVERY_S)
        return opening.result()

    async def _open(self) -> bool:
        connection: GuardedConnection | None = None
        try:
            async with asyncio.timeout(DEADLINE_S):
                connection = await self._connect()
                await self.opened(connection)
        except DRIVER_FAULTS as error:
            self._health.record_failure(error)
            return False
        else:
            self._connection, self._is_unproven = connection, True
            return True
        finally:
            if connection is not None and connection is not self._connection:
                connection.terminate()


class AdmissionWriter(ConnectionLoop):
    """Writes rows in batches with guarded statements on its own connection."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[GuardedConnection]],
        clock: DatabaseClock,
        worker_id: UUID,
        digest_key_id: str,
        health: RecorderHealth | None = None,
        rewinds: RewindGuard | None = None,
    ) -> None:
        super().__init__(connect, health)
        self._rewinds = RewindGuard() if rewinds is None else rewinds
        self._clock = clock
        self._worker_id = worker_id
        self._digest_key_id = digest_key_id
        self._queue: deque[_QueuedCall] = deque()
        self._later: deque[Row | Outcome] = deque(maxlen=WAITING)
        self._unconfirmed: deque[Row | Outcome] = deque(maxlen=WAITING)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._statements: dict[str, PreparedStatement[asyncpg.Record]] = {}

    def write(self, row: Row) -> asyncio.Future[float | None]:
        """Queue one guarded row. Its result is when the statement was sent (``boot_time``), however late it is read.

        ``None`` when a dependency changed or the validity ended. Raises ``StoreUnavailable`` when there is no
        answer within the deadline.
        """
        if self._closing or len(self._queue) >= WAITING:
            raise StoreUnavailable
        if self._loop is None:
            # Cached because Python 3.11 makes a system call for it each time.
            self._loop = asyncio.get_running_loop()
        answer: asyncio.Future[float | None] = self._loop.create_future()
        if not self._queue:
            self._wake.set()
        self._queue.append((row, answer, boot_time() + DEADLINE_S))
        return answer

    def write_later(self, row: Row | Outcome) -> None:
        """Queue an unguarded row (an outcome or a count) for the next statement."""
        if not self._later:
            self._wake.set()
        self._later.append(row)

    def has_work(self) -> bool:
        return bool(self._queue or self._later)

    async def run(self) -> None:
        """Serve the queue until ``close``. The composition root runs this as a task."""
        await super().run()
        # What is left when the database is unavailable at the end.
        self._fail(self._queue)

    async def wait(self) -> bool:
        """Whether to send rows now.

        Rows without a call to share a commit with are delayed a little, so that a single caller's next call does not
        wait for the commit of its last outcome.
        """
        if self._queue:
            return True
        self._wake.clear()
        if not self._later:
            await self._wake.wait()
            return False
        if not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(OUTCOME_DELAY_S):
                    await self._wake.wait()
        return True

    async def work(self) -> None:
        """Send the next rows."""
        await self._send(_Batch(take(self._queue, BATCH), take(self._later, BATCH)))

    async def opened(self, connection: GuardedConnection) -> None:
        """Prepare the statements, and requeue the outcomes and counts of a statement that got no answer and did not
        write them. A row that is being committed at this moment can be written twice with the same id."""
        self._statements = {
            text: await connection.prepare(text) for text in (STATEMENT, STATEMENT_WITH_CLIENTS)
        }
        if self._unconfirmed:
            rows = await connection.fetch(_WRITTEN, [row.id for row in self._unconfirmed])
            written = {row["id"] for row in rows}
            self._later.extend(row for row in self._unconfirmed if row.id not in written)
            self._unconfirmed.clear()

    def expire(self) -> None:
        """Refuse calls after half of their time."""
        now, remaining = boot_time(), deque[_QueuedCall]()
        for queued in self._queue:
            _, answer, deadline = queued
            if answer.done():
                continue
            if deadline - DEADLINE_S / 2 <= now:
                answer.set_exception(StoreUnavailable())
            else:
                remaining.append(queued)
        self._queue = remaining

    async def _send(self, batch: _Batch) -> None:
        # Skip calls whose caller is gone; nothing was sent for them.
        calls = [(row, answer, deadline) for row, answer, deadline in batch.calls if not answer.done()]
        later = batch.later
        batch = _Batch(calls, later)
        if not calls and not later:
            return
        sent = boot_time()
        # The first call in the queue has the earliest deadline.
        remaining = min((deadline - sent for _, _, deadline in calls[:1]), default=DEADLINE_S)
        try:
            async with asyncio.timeout(max(0.05, min(remaining, DEADLINE_S))):
                record = await self._execute(batch)
        except asyncpg.PostgresError as error:
            await self._handle_error(batch, error)
        except (*DRIVER_FAULTS, ValueError, OverflowError) as error:
            if isinstance(error, asyncpg.DataError):
                await self._split(batch)
            else:
                self._health.record_failure(error)
                self._drop_connection(batch)
        else:
            if self._health.failure is not None:
                self._health.record_success()
            self._is_unproven = False
            self._clock.learn(record["at"], sent, boot_time())
            if self._unconfirmed:
                # These rows lacked a partition, which exists now.
                self._later.extend(self._unconfirmed)
                self._unconfirmed.clear()
            # The statement lists the written rows only if some were not written.
            every = record["written"] == len(calls) + len(later)
            written = () if every else frozenset(record["ids"] or ())
            for row, answer, _ in calls:
                if not answer.done():
                    answer.set_result(sent if every or row.id in written else None)

    async def _execute(self, batch: _Batch) -> asyncpg.Record:
        if self._connection is None:
            raise asyncpg.InterfaceError("there is no connection")
        rows, outcomes = [row for row, _, _ in batch.calls], []
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
        if self._connection.warned:
            self._connection.check_replicated()
        if record["fell"]:
            self._rewinds.report_older_version()
        transaction = (record["epoch"], record["xact"])
        if record["xact"] is not None and transaction > self._rewinds.transaction:
            self._rewinds.transaction = transaction
        return record

    async def _handle_error(self, batch: _Batch, error: asyncpg.PostgresError) -> None:
        if is_invalid_value(error):
            await self._split(batch)
            return
        self._health.record_failure(error)
        state = str(error.sqlstate)
        if state == _NO_EPOCH:
            # The database moved to another timeline; the next connection opens its epoch.
            self._drop_connection(batch, maybe_committed=False)
        elif state == _NO_PARTITION:
            self._fail(batch.calls)
            self._unconfirmed.extend(batch.later)
        else:
            self._drop_connection(batch)

    async def _split(self, batch: _Batch) -> None:
        """Halve a batch until the row with an invalid value is separate, so that it fails no other call."""
        if len(batch.calls) + len(batch.later) == 1:
            self._fail(batch.calls)
            return
        for half in batch.halves():
            if self._connection is not None:
                await self._send(half)
            else:
                # The other half lost the connection, and this half was not written.
                self._fail(half.calls)
                self._later.extend(half.later)

    def _fail(self, calls: Iterable[_QueuedCall]) -> None:
        for _, answer, _ in calls:
            if not answer.done():
                answer.set_exception(StoreUnavailable())

    def _drop_connection(self, batch: _Batch, *, maybe_committed: bool = True) -> None:
        """Drop the connection. Calls whose rows may have committed will not run; record that after reconnecting."""
        self.drop_connection()
        self._statements = {}
        self._fail(batch.calls)
        (self._unconfirmed if maybe_committed else self._later).extend(batch.later)
        if maybe_committed:
            for row, _, _ in batch.calls:
                if row.span is not None:
                    self.write_later(make_outcome(row.id, "not_forwarded", 0))


def take(queue: deque[Item], limit: int) -> list[Item]:
    """Remove the first items of a queue."""
    return [queue.popleft() for _ in range(min(limit, len(queue)))]


def is_invalid_value(error: BaseException) -> bool:
    """Whether the database rejected a value of one call."""
    if isinstance(error, asyncpg.PostgresError):
        state = str(error.sqlstate)
        # Two faults of the audit log share the error class of invalid values.
        return state.startswith(_DATA_CLASSES) and state not in {_NO_PARTITION, _NO_EPOCH}
    return isinstance(error, ValueError)


def make_outcome(call_id: UUID, outcome: str, duration_ms: int) -> Outcome:
    """The ``tool.result`` row of a call. The duration is capped because a stream can resume after weeks."""
    return Outcome(new_id(), call_id, outcome, min(duration_ms, _MAX_DURATION_MS))
