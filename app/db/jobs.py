"""Background jobs of a worker: ``Periodic`` and ``LeasedQueue``; ``repeat`` without a database.

The third kind, ``ConnectionLoop``, is in ``admission.writer``.

Every worker runs every job. The database decides which worker does what, by row locks and leases, so a lost worker
leaves its work to the others.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from random import SystemRandom
from time import monotonic
from typing import ClassVar, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.db.engine import CONNECTION_ERRORS, commit
from app.domain.errors import Unavailable
from app.lib.logs import log_fault

Item = TypeVar("Item")

OUTAGES = (Unavailable, *CONNECTION_ERRORS)
"""Errors that end by themselves. Another database error, such as a missing permission, does not."""
# A queue must not take the database connections of requests.
_CONNECTIONS = 2
_LOG_EVERY_S = 60.0
_log = logging.getLogger(__name__)
# An unseeded generator: one that others seed could synchronize the workers.
_spread = SystemRandom()


async def repeat(
    name: str,
    job: Callable[[], Awaitable[object]],
    every_s: float,
    *,
    first_s: float | None = None,
    wake: asyncio.Event | None = None,
    is_spread: bool = True,
) -> None:
    """Run a job again and again, until cancelled. No error ends it. ``name`` is what is done, for the log.

    ``every_s`` is the maximum of seconds between two runs, ``first_s`` before the first, if it differs. The pauses of
    workers are randomized, at least half as long, unless ``is_spread`` is false. Zero for ``every_s`` disables the
    job. ``wake`` ends a pause, but not that after an error: what is woken up often would be retried without a pause. A
    fault that lasts is logged once a minute.
    """
    if every_s == 0:
        return
    logged_at, logged = -_LOG_EVERY_S, ""
    await _pause(every_s if first_s is None else first_s, wake, is_spread)
    while True:
        failed = True
        try:
            await job()
            failed = False
        except OUTAGES:
            # Others report that the database is unavailable; what is due stays.
            pass
        except Exception as error:  # noqa: BLE001
            if type(error).__name__ != logged or monotonic() - logged_at >= _LOG_EVERY_S:
                logged_at, logged = monotonic(), type(error).__name__
                log_fault(_log, name, error)
        await _pause(every_s, None if failed else wake, is_spread)


async def _pause(max_s: float, wake: asyncio.Event | None, is_spread: bool) -> None:
    pause_s = max_s * _spread.uniform(0.5, 1.0) if is_spread else max_s
    if wake is None:
        await asyncio.sleep(pause_s)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(pause_s):
            await wake.wait()
    wake.clear()


class Periodic(ABC):
    """A job that is done again and again, until it is cancelled."""

    name: ClassVar[str]
    """What is done, for the log."""
    every_s: float
    """The maximum of seconds between two rounds, as for ``repeat``."""
    first_s: float | None = None

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions
        self._wake = asyncio.Event()

    @abstractmethod
    async def round(self) -> object:
        """Do what is due now."""

    async def run(self) -> None:
        """Do what is due until cancelled. ``_wake`` starts a round early."""
        await repeat(self.name, self.round, self.every_s, first_s=self.first_s, wake=self._wake)


class LeasedQueue(Periodic, Generic[Item]):
    """A queue in a table, whose items take long and hold no database connection in the meantime.

    Each round claims items under a lease, as far as there is room, and works on each in a task of its own. The lease of
    a lost worker expires, and another worker claims the item: each item is worked on at least once.
    """

    max_items: int
    """Items that one worker works on at a time."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        super().__init__(sessions)
        self._tasks: dict[asyncio.Task[None], Item] = {}
        self._connections = asyncio.Semaphore(_CONNECTIONS)

    @abstractmethod
    async def claim(self, session: AsyncSession, limit: int, current: Collection[Item]) -> Sequence[Item]:
        """Claim up to ``limit`` due items, given those that this worker works on."""

    @abstractmethod
    async def work(self, item: Item) -> Item | None:
        """Work on an item; return the item to continue with, or None to leave it.

        When this raises one of ``OUTAGES``, the item is claimed again when its lease expires.
        """

    @abstractmethod
    def label(self, item: Item) -> str:
        """The name of an item in the log."""

    async def record_fault(self, item: Item) -> None:
        """Record that ``work`` raised an unexpected error. By default, the item is claimed again when its lease
        expires."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A transaction that is committed, with its audit events, at the end of its block."""
        async with self._connections, self._sessions() as session:
            yield session
            await commit(session)

    async def run(self) -> None:
        """Work until cancelled. Items in work are claimed again when their leases expire."""
        try:
            await super().run()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def round(self) -> int:
        """Start work on due items, as far as there is room; return their number."""
        room = self.max_items - len(self._tasks)
        if room <= 0:
            return 0
        async with self.transaction() as session:
            claimed = await self.claim(session, room, self._tasks.values())
        for item in claimed:
            task = asyncio.create_task(self._work(item), name=self.label(item))
            self._tasks[task] = item
            task.add_done_callback(self._end)
        return len(claimed)

    async def idle(self) -> None:
        """Wait until no item is in work."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _end(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        # There is room again.
        self._wake.set()

    async def _work(self, claimed: Item) -> None:
        item: Item | None = claimed
        current = claimed
        try:
            while item is not None:
                current = item
                item = await self.work(current)
        except OUTAGES:
            # Perhaps done, but not recorded: the item is claimed again when its lease expires.
            return
        except Exception as error:  # noqa: BLE001
            # No caller awaits this task, so the error would go unnoticed.
            log_fault(_log, self.label(claimed), error)
            try:
                await self.record_fault(current)
            except OUTAGES:
                return
            except Exception as fault:  # noqa: BLE001
                # The item stays unchanged, and is claimed again when its lease expires.
                log_fault(_log, f"recording the fault of {self.label(current)}", fault)
