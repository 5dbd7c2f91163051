"""What a program said to one HTTP request, on its way out."""

import asyncio
from collections import deque
from collections.abc import Callable


class Outlet:
    """Messages for one reader, in order. ``full`` is told when there are too many, ``free`` when no longer."""

    def __init__(self, most: int, full: Callable[[], None], free: Callable[[], None]) -> None:
        self._most = most
        self._full = full
        self._free = free
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._too_much = False
        self.answered = False
        """The last message is the answer."""
        self.closed = False
        self.cancelled_at: float | None = None
        """When the client cancelled its request."""

    def put(self, message: bytes, *, last: bool = False) -> None:
        """Add a message; nothing follows the last."""
        if self.closed:
            return
        self._waiting.append(message)
        self._size += len(message)
        self.answered = last
        self.closed = last
        self._news.set()
        if self._size > self._most and not self._too_much:
            self._too_much = True
            self._full()

    def close(self) -> None:
        """Nothing follows, and no answer came; or its reader has left."""
        self.closed = True
        self._news.set()
        self._drained()

    async def get(self, within: float | None) -> bytes | None:
        """The next message; ``None`` at the end. Raises ``TimeoutError``."""
        while not self._waiting:
            if self.closed:
                return None
            self._news.clear()
            async with asyncio.timeout(within):
                await self._news.wait()
        message = self._waiting.popleft()
        self._size -= len(message)
        if self._size <= self._most:
            self._drained()
        return message

    @property
    def is_last(self) -> bool:
        """Whether what ``get`` gave is the answer."""
        return self.answered and not self._waiting

    def _drained(self) -> None:
        if self._too_much:
            self._too_much = False
            self._free()
