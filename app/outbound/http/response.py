"""The answer to an outbound request."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Protocol

from app.outbound.http.errors import UpstreamError
from app.outbound.http.limits import Limits

PIECE_BYTES = 16 * 1024
"""What a reader gets at a time, so that what it does with it is done soon."""


class Leg(Protocol):
    """What an answer needs of the connection that it arrives on."""

    def pause(self) -> None:
        """Stop reading from the socket."""

    def resume(self) -> None:
        """Read from the socket again."""

    def abort(self) -> None:
        """Cut the connection at once."""


class OutboundResponse:
    """One answer: status, headers and a body that is read once.

    ``headers`` are (lower-case name, value) in wire order. Methods that begin with ``on_`` are the connection's.
    """

    __slots__ = (
        "_buffered",
        "_chunks",
        "_complete",
        "_error",
        "_leg",
        "_limits",
        "_paused",
        "_waiter",
        "headers",
        "status",
    )

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], leg: Leg, limits: Limits) -> None:
        self.status = status
        self.headers = headers
        self._leg = leg
        self._limits = limits
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._paused = False
        self._complete = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def header(self, name: bytes) -> bytes | None:
        """The first value of the header with this lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    async def read(self, max_bytes: int | None = None) -> bytes:
        """The whole body. Default for ``max_bytes``: the client's ``body_bytes``.

        Raises ``UpstreamError``: ``too_large`` past the cap, and what ``iter_chunks`` raises.
        """
        cap = self._limits.body_bytes if max_bytes is None else max_bytes
        if self._complete and len(self._chunks) == 1 and self._buffered <= cap:
            self._buffered = 0
            return self._chunks.popleft()
        parts: list[bytes] = []
        size = 0
        async for chunk in self.iter_chunks():
            size += len(chunk)
            if size > cap:
                self.close()
                raise UpstreamError("too_large", "the answer is too large", may_have_been_sent=True)
            parts.append(chunk)
        return b"".join(parts)

    async def iter_chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives. A reader that does not read holds the upstream back.

        Cancelling the reader, or leaving the loop early and closing the iterator, cuts the connection. Raises
        ``UpstreamError`` (``timeout``, ``closed``, ``protocol``) after all that did arrive.
        """
        try:
            while True:
                while self._chunks:
                    chunk = self._chunks.popleft()
                    self._buffered -= len(chunk)
                    if self._paused and self._buffered < self._limits.buffer_bytes:
                        self._paused = False
                        self._leg.resume()
                    for start in range(0, len(chunk), PIECE_BYTES):
                        yield chunk if len(chunk) <= PIECE_BYTES else chunk[start : start + PIECE_BYTES]
                        if self._chunks or len(chunk) > PIECE_BYTES:
                            # An upstream that never pauses must not keep the loop from everybody else.
                            await asyncio.sleep(0)
                if self._error is not None:
                    raise self._error
                if self._complete:
                    return
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        finally:
            self.close()

    def close(self) -> None:
        """Done with it: aborts the connection unless the answer is complete. Idempotent; wakes a reader."""
        if self._complete or self._error is not None:
            return
        self.on_failed(UpstreamError("closed", "the answer was closed", may_have_been_sent=True))
        self._chunks.clear()
        self._leg.abort()

    def on_data(self, data: bytes) -> None:
        """A piece of the body arrived."""
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > self._limits.buffer_bytes and not self._paused:
            self._paused = True
            self._leg.pause()
        self._wake()

    def on_complete(self) -> None:
        """The answer is whole. From here on the connection may serve somebody else."""
        self._complete = True
        self._paused = False
        self._wake()

    def on_failed(self, error: UpstreamError) -> None:
        """The rest will not come."""
        if not self._complete and self._error is None:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
