"""The second lane: calls that take something with them, approvals and uses of quotas, which must not be taken twice.

It has a connection of its own, so that its locks hold up no other call. Calls that wait share a transaction, and are
settled in it in their order; what cannot be written down is not taken.

A connection of one's own for short transactions: opened when it is needed, dropped when it is in doubt.

Giving back what a call took that was not forwarded after all: once, in the transaction that says so. See ADR 15.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import asyncpg

from app.access.snapshot import DatabaseClock
from app.admission.consuming import (
    Collided,
    Connection,
    Demand,
    Moved,
    QuotaWindow,
    Settlement,
    columns,
    keep_versions,
    lock_quotas,
    settle,
)
from app.admission.rows import STATEMENT, Outcome, arguments_of
from app.admission.writer import DEADLINE_S, AdmissionUnavailable
from app.db.connection import DRIVER_FAULTS
from app.db.recorder_health import Trouble
from app.lib.clock import boot_time
from app.lib.ids import new_id

ATTEMPTS = 3
_PAUSE_S = 0.1
_BEGIN = "BEGIN; SET LOCAL lock_timeout = '1s'"
_REPEATABLE = ("40001", "40P01")
_DATA_CLASSES = ("22", "23", "54")
_LOCKED = "55P03"

# Faults of the log in the class of a caller's mistakes: no partition, no open epoch.
_NOT_DATA = ("23514", "23502")


Result = TypeVar("Result")


class OwnConnection:
    """Runs one transaction at a time. The deadlines are the caller's: one that passes costs the connection."""

    def __init__(self, connect: Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._opened_in_vain = False

    async def open(self) -> None:
        """Be connected. Raises asyncpg's errors and ``OSError``."""
        if self._connection is None or self._connection.is_closed():
            if self._opened_in_vain:
                # It takes connections and no rows, as on a full disk: each call would open another one.
                await asyncio.sleep(_PAUSE_S)
            self._connection = await self._connect()
            self._opened_in_vain = True

    async def transaction(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Run ``work`` in a transaction, a few times where it lost against others, and commit.

        Whatever it raises, and whatever the database does, rolls it back; but when the commit has no answer, nobody
        knows whether it holds.
        """
        await self.open()
        connection = self._connection
        if connection is None:
            raise asyncpg.InterfaceError("there is no connection")
        attempt = 1
        while True:
            try:
                await connection.execute(_BEGIN)
                result = await work(connection)
                # failpoint: before_settlement
                await connection.execute("COMMIT")
                # failpoint: after_settlement
            except (asyncpg.PostgresError, Collided, Moved, ValueError) as error:
                if not _keeps_the_connection(error):
                    self.drop()
                    raise
                await self._rolled_back(connection)
                if attempt == ATTEMPTS or not _may_be_repeated(error):
                    raise
                attempt += 1
            except BaseException:
                self.drop()
                raise
            else:
                self._opened_in_vain = False
                return result

    async def _rolled_back(self, connection: Connection) -> None:
        try:
            await connection.execute("ROLLBACK")
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """End the connection at once, without a word."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None

    async def close(self) -> None:
        """End the connection in peace."""
        if self._connection is not None:
            await self._connection.close(timeout=1)


def is_bad_value(error: BaseException) -> bool:
    """Whether somebody brought a value that the database does not take: the fault of one call alone."""
    if isinstance(error, asyncpg.PostgresError):
        state = str(error.sqlstate)
        return state.startswith(_DATA_CLASSES) and state not in _NOT_DATA
    return isinstance(error, ValueError)


def lost_to_others(error: BaseException) -> bool:
    """Whether other transactions were in the way, which says nothing of whether the database takes rows."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate) in (*_REPEATABLE, _LOCKED)
    return isinstance(error, Collided)


def _may_be_repeated(error: BaseException) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate) in _REPEATABLE
    return isinstance(error, Collided)


def _keeps_the_connection(error: BaseException) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return is_bad_value(error) or lost_to_others(error)
    return True


# By their ids: a transaction whose commit had no answer may hold them yet, and is waited for.
_LOCK = "SELECT id FROM approvals WHERE id = ANY($1) ORDER BY id FOR UPDATE"

# By key within a day: the id alone would be looked for in every month.
_WRITTEN = "SELECT id FROM audit_events WHERE id = ANY($1) AND time > clock_timestamp() - interval '1 day'"
_GIVE_BACK = """
UPDATE approvals a SET consumed_by = t.earlier, revision = a.revision + 1, updated_at = clock_timestamp(),
    state = CASE WHEN t.earlier IS NULL THEN 'approved' ELSE 'consumed' END,
    consumed_at = CASE WHEN t.earlier IS NULL THEN NULL ELSE a.consumed_at END
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS t(id, call_id, earlier)
WHERE a.id = t.id AND a.consumed_by = t.call_id AND a.state = 'consumed'
RETURNING a.id
"""
_RETURN = """
UPDATE quota_uses q SET used = greatest(q.used - t.uses, 0)
FROM unnest($1::text[], $2::float8[], $3::int[]) AS t(key, start, uses)
WHERE q.quota_key = t.key AND q.window_start = to_timestamp(t.start)
"""


@dataclass(frozen=True, slots=True)
class Release:
    """What a call took, and the row that says that it was not forwarded."""

    outcome: Outcome
    reserved: tuple[QuotaWindow, ...]
    taken: tuple[tuple[UUID, UUID | None], ...]
    """Each approval, and the call of which this was the next round, which has it back then."""

    @classmethod
    def of(cls, settlement: Settlement) -> "Release":
        """Of all that a call took."""
        taken = tuple((approval.id, approval.consumed_by) for approval in settlement.taken)
        return cls(Outcome(new_id(), settlement.demand.id, "not_forwarded", 0), settlement.reserved, taken)


async def release(
    connection: Connection, releases: Sequence[Release], *, worker_id: UUID, digest_key_id: str
) -> None:
    """Give back, inside the transaction that is open, and record it.

    What was given back before is left alone, and so is what was never taken, since the call's row did not come to be.
    May be repeated when its answer is lost.
    """
    call_ids = [each.outcome.call_id for each in releases]
    await connection.fetch(_LOCK, [id for each in releases for id, _ in each.taken])
    await lock_quotas(connection, {window for each in releases for window in each.reserved})
    # Read under the locks, which an earlier attempt may have held.
    asked = [*call_ids, *(each.outcome.id for each in releases)]
    written = {row["id"] for row in await connection.fetch(_WRITTEN, asked)}
    due = [each for each in releases if each.outcome.call_id in written and each.outcome.id not in written]
    if not due:
        return
    taken = [(id, each.outcome.call_id, earlier) for each in due for id, earlier in each.taken]
    if taken:
        given = await connection.fetch(_GIVE_BACK, *columns(taken))
        await keep_versions(connection, [row["id"] for row in given])
    uses = Counter(window for each in due for window in each.reserved)
    if uses:
        await connection.execute(_RETURN, *columns([(*window, count) for window, count in uses.items()]))
    outcomes = [each.outcome for each in due]
    await connection.fetch(STATEMENT, *arguments_of((), outcomes, (), worker_id, digest_key_id))


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
