"""The writer for consuming admissions: calls that use up approvals or quota, each of which is used only once.

It has its own connection, so that its locks delay no other call. Queued calls share a transaction and are settled in
order. When a call is not forwarded after all, its approvals and quota are released in the transaction that records
this. See ADR 15.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import asyncpg

from app.admission import consuming
from app.admission.consuming import ApprovalConflict, Connection, Demand, DependenciesMoved, Settlement
from app.admission.rows import STATEMENT, Outcome, arguments_of
from app.admission.writer import DEADLINE_S, ConnectionLoop, is_invalid_value, take
from app.db.clock import DatabaseClock
from app.db.connection import DRIVER_FAULTS, GuardedConnection
from app.db.recorder_health import RecorderHealth
from app.domain.errors import StoreUnavailable
from app.lib.clock import boot_time
from app.lib.ids import new_id

ATTEMPTS = 3
_BEGIN = "BEGIN; SET LOCAL lock_timeout = '1s'"
_RETRYABLE = ("40001", "40P01")
_LOCKED = "55P03"

Result = TypeVar("Result")


def is_conflict(error: BaseException) -> bool:
    """Whether other transactions caused the error, which says nothing about the health of the database."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate) in (*_RETRYABLE, _LOCKED)
    return isinstance(error, ApprovalConflict)


# Locked by id, to wait for a transaction that got no answer to its commit and can still hold them.
_LOCK = "SELECT id FROM approvals WHERE id = ANY($1) ORDER BY id FOR UPDATE"

# The time limits the search to current partitions.
_WRITTEN = "SELECT id FROM audit_events WHERE id = ANY($1) AND time > clock_timestamp() - interval '1 day'"
_RESTORE_APPROVALS = """
UPDATE approvals a SET consumed_by = t.earlier, revision = a.revision + 1, updated_at = clock_timestamp(),
    state = CASE WHEN t.earlier IS NULL THEN 'approved' ELSE 'consumed' END,
    consumed_at = CASE WHEN t.earlier IS NULL THEN NULL ELSE a.consumed_at END
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS t(id, call_id, earlier)
WHERE a.id = t.id AND a.consumed_by = t.call_id AND a.state = 'consumed'
RETURNING a.id
"""
_RESTORE_QUOTAS = """
UPDATE quota_uses q SET used = greatest(q.used - t.uses, 0)
FROM unnest($1::text[], $2::float8[], $3::int[]) AS t(key, start, uses)
WHERE q.quota_key = t.key AND q.window_start = to_timestamp(t.start)
"""


@dataclass(frozen=True, slots=True)
class Release:
    """The approvals and quota of a call that was not forwarded, and the row that says so."""

    outcome: Outcome
    reserved: tuple[consuming.QuotaWindow, ...]
    consumed: tuple[tuple[UUID, UUID | None], ...]
    """Each approval with the call of the previous round, if any, which gets it back."""

    @classmethod
    def of(cls, settlement: Settlement) -> "Release":
        """The release of everything that a call consumed."""
        consumed = tuple((approval.id, approval.consumed_by) for approval in settlement.consumed)
        return cls(Outcome(new_id(), settlement.demand.id, "not_forwarded", 0), settlement.reserved, consumed)


async def release(
    connection: Connection, releases: Sequence[Release], *, worker_id: UUID, digest_key_id: str
) -> None:
    """Release approvals and quota inside the open transaction, and record it.

    Idempotent: skips calls that were released before and calls whose row was never written.
    """
    call_ids = [each.outcome.call_id for each in releases]
    await connection.fetch(_LOCK, [id for each in releases for id, _ in each.consumed])
    await consuming.lock_quotas(connection, {window for each in releases for window in each.reserved})
    # Read under the locks because an earlier attempt can have held them.
    ids = [*call_ids, *(each.outcome.id for each in releases)]
    written = {row["id"] for row in await connection.fetch(_WRITTEN, ids)}
    due = [each for each in releases if each.outcome.call_id in written and each.outcome.id not in written]
    if not due:
        return
    consumed = [(id, each.outcome.call_id, earlier) for each in due for id, earlier in each.consumed]
    if consumed:
        rows = await connection.fetch(_RESTORE_APPROVALS, *consuming.columns(consumed))
        await consuming.keep_versions(connection, [row["id"] for row in rows])
    uses = Counter(window for each in due for window in each.reserved)
    if uses:
        await connection.execute(
            _RESTORE_QUOTAS, *consuming.columns([(*window, count) for window, count in uses.items()])
        )
    outcomes = [each.outcome for each in due]
    await connection.fetch(STATEMENT, *arguments_of((), outcomes, (), worker_id, digest_key_id))


BATCH = 64
WAITING = 5_000
_RETRY_EVERY_S = 0.1
_FAULTS = (*DRIVER_FAULTS, ValueError, ApprovalConflict)


@dataclass(slots=True)
class _QueuedCall:
    demand: Demand
    answer: asyncio.Future[Settlement | None]


class ConsumingWriter(ConnectionLoop):
    """Settles calls that consume approvals or quota, in small batches."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[GuardedConnection]],
        clock: DatabaseClock,
        worker_id: UUID,
        digest_key_id: str,
        approval_ttl: float,
        health: RecorderHealth | None = None,
    ) -> None:
        super().__init__(connect, health)
        self._clock = clock
        self._worker_id = worker_id
        self._digest_key_id = digest_key_id
        self._ttl = approval_ttl
        self._queue: deque[_QueuedCall] = deque()
        self._releases: deque[Release] = deque(maxlen=WAITING)
        self.admitted: dict[UUID, Settlement] = {}

    async def settle(self, demand: Demand) -> Settlement | None:
        """Settle one call. ``None`` when a dependency changed or its validity ended: nothing was recorded.

        Raises ``StoreUnavailable`` when there is no answer within the deadline.
        """
        if self._closing or len(self._queue) >= WAITING:
            raise StoreUnavailable
        answer: asyncio.Future[Settlement | None] = asyncio.get_running_loop().create_future()
        self._queue.append(_QueuedCall(demand, answer))
        self._wake.set()
        try:
            # A caller that stops waiting cancels the answer, and anything consumed for it is released.
            async with asyncio.timeout(DEADLINE_S):
                return await answer
        except TimeoutError:
            self._abandon(answer)
            raise StoreUnavailable from None
        except asyncio.CancelledError:
            self._abandon(answer)
            raise

    def _abandon(self, answer: asyncio.Future[Settlement | None]) -> None:
        """Release a settlement that arrived as its caller stopped waiting."""
        settlement = None if answer.cancelled() or not answer.done() else answer.result()
        if settlement is not None and self.admitted.pop(settlement.demand.id, None) is not None:
            self._release_later(settlement)

    def finish(self, call_id: UUID, outcome: str) -> bool:
        """Note the outcome of a call. Returns whether this writer records it, which it does with a release."""
        settlement = self.admitted.pop(call_id, None)
        if settlement is None or outcome != "not_forwarded":
            return False
        self._release_later(settlement)
        return True

    def _release_later(self, settlement: Settlement) -> None:
        self._releases.append(Release.of(settlement))
        self._wake.set()

    def has_work(self) -> bool:
        return bool(self._queue or self._releases)

    async def work(self) -> None:
        """Release first, since queued calls can use what is released; then settle the next calls."""
        await self._release()
        if await self._ensure_connected():
            await self._serve(take(self._queue, BATCH))

    async def transaction(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Run ``work`` in a transaction and commit, with up to ``ATTEMPTS`` attempts after conflicts.

        Any exception rolls it back, and cancelling it terminates the connection. If the commit gets no answer, its
        result is unknown.
        """
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
            except (asyncpg.PostgresError, ApprovalConflict, DependenciesMoved, ValueError) as error:
                is_fault = isinstance(error, asyncpg.PostgresError) and not is_invalid_value(error)
                if is_fault and not is_conflict(error):
                    self.drop_connection()
                    raise
                await self._roll_back(connection)
                is_locked = getattr(error, "sqlstate", None) == _LOCKED
                # A lock timeout is a conflict that another attempt would only prolong.
                if attempt == ATTEMPTS or is_locked or not is_conflict(error):
                    raise
                attempt += 1
            except BaseException:
                self.drop_connection()
                raise
            else:
                self._is_unproven = False
                return result

    async def _roll_back(self, connection: Connection) -> None:
        try:
            await connection.execute("ROLLBACK")
        except BaseException:
            self.drop_connection()
            raise

    async def _serve(self, batch: Sequence[_QueuedCall]) -> None:
        """Settle calls together, or one by one when one of them makes the batch fail."""
        # Skip calls whose caller is gone; nothing was sent for them.
        batch = [queued for queued in batch if not queued.answer.done()]
        if not batch:
            return
        settled: list[Settlement] = []
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self.transaction(lambda own: self._settle(own, batch, settled))
        except DependenciesMoved:
            await self._serve_each(batch, stale=True)
        except _FAULTS as error:
            if is_invalid_value(error):
                await self._serve_each(batch, stale=False)
                return
            self._record_failure(error)
            self._fail(batch)
            for settlement in settled:
                # It may have been committed, but the call does not run: release it after reconnecting.
                self._release_unclaimed(settlement)
        else:
            self._health.record_success()
            for queued, settlement in zip(batch, settled, strict=True):
                if queued.answer.done():
                    self._release_unclaimed(settlement)
                    continue
                if settlement.admitted:
                    self.admitted[settlement.demand.id] = settlement
                queued.answer.set_result(settlement)

    async def _settle(
        self, connection: Connection, batch: Sequence[_QueuedCall], settled: list[Settlement]
    ) -> None:
        settled.clear()
        demands = [queued.demand for queued in batch]
        settlements, at, sent = await consuming.settle(
            connection, demands, ttl=self._ttl, worker_id=self._worker_id, digest_key_id=self._digest_key_id
        )
        self._clock.learn(at, sent, boot_time())
        settled.extend(settlements)

    async def _serve_each(self, batch: Sequence[_QueuedCall], *, stale: bool) -> None:
        """Serve each call separately. A batch of one is the cause itself: it is stale or cannot be written."""
        if len(batch) == 1:
            if not stale:
                self._fail(batch)
            elif not batch[0].answer.done():
                batch[0].answer.set_result(None)
            return
        for queued in batch:
            if await self._ensure_connected():
                await self._serve([queued])
            else:
                self._fail([queued])

    def _release_unclaimed(self, settlement: Settlement) -> None:
        if settlement.admitted:
            self._release_later(settlement)

    def _fail(self, batch: Sequence[_QueuedCall]) -> None:
        for queued in batch:
            if not queued.answer.done():
                queued.answer.set_exception(StoreUnavailable())

    def _record_failure(self, error: BaseException) -> None:
        if not is_conflict(error):
            self._health.record_failure(error)

    async def _release(self) -> None:
        releases = take(self._releases, BATCH)
        if not releases:
            return
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self.transaction(
                    lambda own: release(
                        own, releases, worker_id=self._worker_id, digest_key_id=self._digest_key_id
                    )
                )
        except _FAULTS as error:
            self._record_failure(error)
            self._releases.extendleft(reversed(releases))
            await asyncio.sleep(_RETRY_EVERY_S)
