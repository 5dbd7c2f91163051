"""How the snapshot reads: once for all who ask for the same, and never longer than callers can wait."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from itertools import islice
from typing import Any
from uuid import UUID

READ_TIMEOUT_S = 1.5
"""Of a read; of one that comes in pieces, of each."""
IDS_AT_ONCE = 200
_BATCHES_AT_ONCE = 3
"""One connection of the pool is left to reads of other kinds."""
_SLOW_S = 0.05
"""After it, what waits for a read is read beside it: the connection may have gone silent, or the database be slow."""


class Unreadable(Exception):
    """Nothing can be read now, whatever is asked for."""


class FreshReads:
    """Runs one read for all who asked before it began."""

    def __init__(self, read: Callable[[], Awaitable[Any]]) -> None:
        self._read = read
        self._running: asyncio.Task[Any] | None = None
        self._next: asyncio.Task[Any] | None = None

    @property
    def idle(self) -> bool:
        """Whether nobody waits for a read that has not begun."""
        return self._next is None

    async def result(self) -> Any:
        """What a read finds that begins after this was asked."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        return await asyncio.shield(self._next)

    async def _after(self, running: asyncio.Task[Any] | None) -> Any:
        if running is not None:
            await asyncio.wait([running])
        self._running, self._next = self._next, None
        return await self._read()


class FreshBatches:
    """Reads by id, each for all who asked before it began, and what is asked for meanwhile in one go.

    What one id has is never read twice at a time: the later read is what is known last.
    """

    def __init__(self, read: Callable[[Collection[UUID]], Awaitable[Mapping[UUID, Any]]]) -> None:
        """``read`` finds nothing of ids that do not exist, and raises ``Unreadable`` where others would not help."""
        self._read = read
        self._waiting: dict[UUID, asyncio.Future[Any]] = {}
        self._reading: set[UUID] = set()
        self._batches: set[asyncio.Task[None]] = set()
        self._help: asyncio.TimerHandle | None = None

    async def result(self, id: UUID) -> Any:
        """What a read finds that begins after this was asked; ``None``: nothing. Raises what the read raised."""
        asked = self._waiting.get(id)
        if asked is None:
            asked = self._waiting[id] = asyncio.get_running_loop().create_future()
            if not self._batches:
                self._begin()
            elif self._help is None:
                self._help = asyncio.get_running_loop().call_later(_SLOW_S, self._begin_beside)
        return await asyncio.shield(asked)

    def _begin(self) -> None:
        task = asyncio.create_task(self._read_what_waits())
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)

    def _begin_beside(self) -> None:
        self._help = None
        if not self._waiting:
            return
        if len(self._batches) < _BATCHES_AT_ONCE:
            self._begin()
        self._help = asyncio.get_running_loop().call_later(_SLOW_S, self._begin_beside)

    async def _read_what_waits(self) -> None:
        while batch := self._next():
            try:
                await self._read_together(batch)
            finally:
                self._reading.difference_update(batch)

    def _next(self) -> dict[UUID, asyncio.Future[Any]]:
        free = (id for id in self._waiting if id not in self._reading)
        batch = {id: self._waiting[id] for id in islice(free, IDS_AT_ONCE)}
        for id in batch:
            del self._waiting[id]
        self._reading.update(batch)
        return batch

    async def _read_together(self, batch: Mapping[UUID, asyncio.Future[Any]]) -> None:
        try:
            found = await self._read(batch.keys())
        except Unreadable as fault:
            for asked in batch.values():
                _fail(asked, fault)
        except Exception as fault:  # noqa: BLE001
            for id, asked in batch.items():
                if len(batch) == 1:
                    _fail(asked, fault)
                else:
                    # Something is wrong with one of them: others are none the worse for being asked for with it.
                    await self._read_together({id: asked})
        else:
            for id, asked in batch.items():
                asked.set_result(found.get(id))


def _fail(asked: "asyncio.Future[Any]", fault: Exception) -> None:
    asked.set_exception(fault)
    # Whoever asked may have given up, which is no news.
    asked.exception()


class Pace:
    """A connection that is cut when a read takes too long, or ``in_pieces`` when one of its statements does."""

    def __init__(self, connection: Any, *, in_pieces: bool) -> None:
        self._connection = connection
        self._in_pieces = in_pieces
        self._cut = self._begun()

    def _begun(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(READ_TIMEOUT_S, self._connection.terminate)

    async def fetch(self, query: str, *arguments: object) -> Any:
        """The rows of a statement."""
        if self._in_pieces:
            self._cut.cancel()
            self._cut = self._begun()
        return await self._connection.fetch(query, *arguments)

    def end(self) -> None:
        """There is nothing more to come."""
        self._cut.cancel()
