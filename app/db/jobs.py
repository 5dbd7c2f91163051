"""Background jobs of a worker on the database: ``Periodic`` and ``LeasedQueue``.

Every worker runs every job. The database decides which worker does what, by row locks and leases, so a lost worker
leaves its work to the others.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from random import SystemRandom
from typing import ClassVar, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.db import change
from app.db.engine import CONNECTION_ERRORS
from app.domain.errors import Unavailable
from app.lib.logs import log_fault

Item = TypeVar("Item")

OUTAGES = (Unavailable, *CONNECTION_ERRORS)
"""Errors that end by themselves. Another database error, such as a missing permission, does not."""
# A queue must not take the database connections of requests.
_CONNECTIONS = 2
_log = logging.getLogger(__name__)
# An unseeded generator: one that others seed could synchronize the workers.
_spread = SystemRandom()


class Periodic(ABC):
    """A job that is done again and again, until it is cancelled."""

    name: ClassVar[str]
    """What is done, for the log."""
    every_s: float
    """The maximum of seconds between two rounds; the pauses of workers are randomized, at least half as long."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions

    @abstractmethod
    async def round(self) -> object:
        """Do what is due now."""

    async def run(self) -> None:
        """Do what is due, round after round, until cancelled. No error ends the job."""
        while True:
            await self._pause(self.every_s * _spread.uniform(0.5, 1.0))
            try:
                await self.round()
            except OUTAGES:
                # Others report that the database is unavailable; what is due stays.
                continue
            except Exception as error:  # noqa: BLE001
                log_fault(_log, self.name, error)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


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
        self._room = asyncio.Event()
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
            await change.write(session)
            await session.commit()

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

    async def _pause(self, seconds: float) -> None:
        """Wait until the next round, or until there is room again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._room.wait()
        self._room.clear()

    def _end(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._room.set()

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
            await self._record_fault(current)

    async def _record_fault(self, item: Item) -> None:
        try:
            await self.record_fault(item)
        except OUTAGES:
            return
        except Exception as error:  # noqa: BLE001
            # The item stays unchanged, and is claimed again when its lease expires.
            log_fault(_log, f"recording the fault of {self.label(item)}", error)
