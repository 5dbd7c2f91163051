"""Shared database reads of the snapshot, with timeouts: one read serves all callers that wait for the same data."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from itertools import islice
from typing import Any
from uuid import UUID

from app.domain.errors import StoreUnavailable

READ_TIMEOUT_S = 1.5
"""The timeout of a read, or of each statement of a read in pieces."""
IDS_AT_ONCE = 200
_MAX_BATCHES = 3
"""Leaves one connection of the pool to other reads."""
_SECOND_BATCH_AFTER_S = 0.05
"""Waiting ids are read by another batch after this, since the first connection may be silent or the database slow."""


class FreshReads:
    """Runs one read for all callers that waited when it began."""

    def __init__(self, read: Callable[[], Awaitable[Any]]) -> None:
        self._read = read
        self._running: asyncio.Task[Any] | None = None
        self._next: asyncio.Task[Any] | None = None

    @property
    def idle(self) -> bool:
        """Whether no caller waits for a read that has not begun."""
        return self._next is None

    async def result(self) -> Any:
        """The result of a read that begins after this call."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        return await asyncio.shield(self._next)

    async def _after(self, running: asyncio.Task[Any] | None) -> Any:
        if running is not None:
            await asyncio.wait([running])
        self._running, self._next = self._next, None
        return await self._read()


class FreshBatches:
    """Reads by id in batches. Each read serves all callers that waited when it began.

    An id is never read by two batches at the same time, so that the later read is also the last to be stored.
    """

    def __init__(self, read: Callable[[Collection[UUID]], Awaitable[Mapping[UUID, Any]]]) -> None:
        """``read`` leaves out missing ids, and raises ``StoreUnavailable`` when a retry with fewer ids cannot help."""
        self._read = read
        self._waiting: dict[UUID, asyncio.Future[Any]] = {}
        self._reading: set[UUID] = set()
        self._batches: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def result(self, id: UUID) -> Any:
        """The result of a read that begins after this call; ``None`` for a missing id. Raises what the read raises."""
        answer = self._waiting.get(id)
        if answer is None:
            answer = self._waiting[id] = asyncio.get_running_loop().create_future()
            if not self._batches:
                self._begin()
            elif self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(
                    _SECOND_BATCH_AFTER_S, self._begin_another
                )
        return await asyncio.shield(answer)

    def _begin(self) -> None:
        task = asyncio.create_task(self._read_waiting())
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)

    def _begin_another(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        if len(self._batches) < _MAX_BATCHES:
            self._begin()
        self._timer = asyncio.get_running_loop().call_later(_SECOND_BATCH_AFTER_S, self._begin_another)

    async def _read_waiting(self) -> None:
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
            values = await self._read(batch.keys())
        except StoreUnavailable as fault:
            for answer in batch.values():
                _fail(answer, fault)
        except Exception as fault:  # noqa: BLE001
            for id, answer in batch.items():
                if len(batch) == 1:
                    _fail(answer, fault)
                else:
                    # One id causes the error: read each separately, so that it does not affect the others.
                    await self._read_together({id: answer})
        else:
            for id, answer in batch.items():
                answer.set_result(values.get(id))


def _fail(answer: "asyncio.Future[Any]", fault: Exception) -> None:
    answer.set_exception(fault)
    answer.exception()  # Retrieved, since all callers may be gone.


class ReadTimeout:
    """Terminates a connection when a read takes too long, or, ``in_pieces``, when one of its statements does."""

    def __init__(self, connection: Any, *, in_pieces: bool) -> None:
        self._connection = connection
        self._in_pieces = in_pieces
        self._cut = self._start()

    def _start(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(READ_TIMEOUT_S, self._connection.terminate)

    async def fetch(self, query: str, *arguments: object) -> Any:
        """The rows of a statement."""
        if self._in_pieces:
            self._cut.cancel()
            self._cut = self._start()
        return await self._connection.fetch(query, *arguments)

    def end(self) -> None:
        """Stop the timer after the last statement."""
        self._cut.cancel()
