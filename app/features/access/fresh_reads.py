"""How the snapshot reads: once for all who ask for the same, and never longer than callers can wait."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

READ_TIMEOUT_S = 1.5
"""Of a read; of one that comes in pieces, of each."""


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
