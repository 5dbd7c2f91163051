"""A keep-alive HTTP/1.1 connection on httptools (llhttp), its responses, limits and timeouts.

Sizes are in bytes, times in seconds.
"""

import asyncio
import select
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import NoReturn, Protocol, cast

import httptools

from app.outbound.http.guard import UpstreamError, UpstreamErrorKind


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a client."""

    header_bytes: int = 32 * 1024
    """Status line and headers of one response, including informational responses before it."""
    body_bytes: int = 16 * 1024 * 1024
    """The default maximum of ``read``."""
    buffer_bytes: int = 64 * 1024
    """Unread bytes of a response at which reading from the socket pauses."""
    connections_per_origin: int = 256
    connections_per_caller: int = 64
    """The share of one caller, so that no caller uses all connections."""
    idle_connection: float = 4.0
    """An unused connection is closed after this; below the 5 s after which common servers close theirs."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The timeouts of a request, accurate to a tenth of a second. ``None`` is no limit."""

    connect: float = 5.0
    """For a free connection, and separately for resolving, connecting and the TLS handshake together."""
    first_byte: float | None = 60.0
    """From sending to the headers of the response."""
    idle: float | None = 60.0
    """Between two chunks of the response; paused while our own reader is slow."""
    total: float | None = 300.0
    """From sending to the end of the response."""


DEFAULT_LIMITS = Limits()
DEFAULT_TIMEOUTS = Timeouts()
PIECE_BYTES = 16 * 1024
"""The maximum chunk for a reader, so that it processes each one quickly."""


@dataclass(slots=True, eq=False, repr=False)
class OutboundResponse:
    """A response: status, headers and a body that can be read once.

    ``headers`` are (lower-case name, value) in wire order. The connection calls the methods that begin with ``on_``.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    _connection: "Connection"
    _limits: Limits
    _chunks: deque[bytes] = field(default_factory=deque)
    _buffered: int = 0
    _paused: bool = False
    _complete: bool = False
    _error: UpstreamError | None = None
    _waiter: asyncio.Future[None] | None = None

    def header(self, name: bytes) -> bytes | None:
        """The first value of the header with this lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    async def read(self, max_bytes: int | None = None) -> bytes:
        """The whole body. The default of ``max_bytes`` is the client's ``body_bytes``.

        Raises ``UpstreamError``: ``too_large`` beyond the maximum, and those of ``iter_chunks``.
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
                raise UpstreamError("too_large", "the answer is too large")
            parts.append(chunk)
        return b"".join(parts)

    async def iter_chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives. A slow reader pauses the upstream.

        Cancelling the reader, or leaving the loop early and closing the iterator, cuts the connection. Raises
        ``UpstreamError`` (``timeout``, ``closed``, ``protocol``) after the data that did arrive.
        """
        try:
            while True:
                while self._chunks:
                    chunk = self._chunks.popleft()
                    self._buffered -= len(chunk)
                    if self._paused and self._buffered < self._limits.buffer_bytes:
                        self._paused = False
                        self._connection.resume()
                    for start in range(0, len(chunk), PIECE_BYTES):
                        yield chunk if len(chunk) <= PIECE_BYTES else chunk[start : start + PIECE_BYTES]
                        if self._chunks or len(chunk) > PIECE_BYTES:
                            # Yield, so that an upstream that never pauses does not block the event loop.
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
        """Close the response. Aborts the connection unless it is complete. Idempotent; wakes a reader."""
        if self._complete or self._error is not None:
            return
        self.on_failed(UpstreamError("closed", "the answer was closed"))
        self._chunks.clear()
        self._connection.abort()

    def on_data(self, data: bytes) -> None:
        """Buffer a chunk of the body."""
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > self._limits.buffer_bytes and not self._paused:
            self._paused = True
            self._connection.pause()
        self._wake()

    def on_complete(self) -> None:
        """Mark the response as complete. After this, the connection can be reused."""
        self._complete = True
        self._paused = False
        self._wake()

    def on_failed(self, error: UpstreamError) -> None:
        """Mark the response as failed, unless it is complete."""
        if not self._complete and self._error is None:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)


# A connection that was idle this long (seconds) is polled for a pending close or stray bytes before it is used, since
# the event loop may not have processed them yet.
_CHECK_AFTER_IDLE = 0.5


class ConnectionOwner(Protocol):
    """The pool, as a connection sees it."""

    def release(self, connection: "Connection") -> None:
        """Take back a connection with a complete response."""

    def retire(self, connection: "Connection") -> None:
        """Remove a closed connection."""


class Connection(asyncio.Protocol):
    """Sends one request at a time and never retries."""

    def __init__(self, owner: ConnectionOwner, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._limits = limits
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self.closed = False
        self.idle_since = 0.0
        self.caller: int | None = None
        """The caller that uses the connection, for the pool's counts."""
        self._poll: select.poll | None = None
        self._paused = False
        self._busy = False
        self._begin(Timeouts(), 0.0)

    def _begin(self, timeouts: Timeouts, now: float) -> None:
        self._head: asyncio.Future[OutboundResponse] | None = None
        self._response: OutboundResponse | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0
        self._without_progress = 0
        self._progress = False
        self._informational = False
        self._sized = False
        self._keep_alive = False
        self._done = False
        self._dirty = False
        self._rejection: UpstreamError | None = None
        self._timeouts = timeouts
        self._started = self._received_at = now

    # What the pool and the client call

    def start(self, wire: bytes, timeouts: Timeouts) -> asyncio.Future[OutboundResponse]:
        """Write a request. The future gives the response after its headers, or an ``UpstreamError``."""
        transport = self._transport
        if transport is None or self._busy or self.closed:
            raise RuntimeError("the connection is not free")
        self._begin(timeouts, self._loop.time())
        self._busy = True
        self._head = self._loop.create_future()
        transport.write(wire)
        return self._head

    def usable(self, now: float) -> bool:
        """Whether a request can be sent: the connection is open and nothing arrived since the last response."""
        if self.closed or self._transport is None or self._transport.is_closing():
            return False
        if now - self.idle_since < _CHECK_AFTER_IDLE:
            return True
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self._poll.poll(0)

    def check_time(self, now: float) -> None:
        """Fail the request if one of its timeouts has passed."""
        if not self._busy:
            return
        times = self._timeouts
        if times.total is not None and now - self._started >= times.total:
            self._fail("timeout", "the upstream took too long to answer in full")
        elif self._response is None:
            if times.first_byte is not None and now - self._started >= times.first_byte:
                self._fail("timeout", "the upstream did not begin to answer in time")
        elif times.idle is not None and not self._paused and now - self._received_at >= times.idle:
            self._fail("timeout", "the upstream stopped in the middle of its answer")

    def pause(self) -> None:
        """Stop reading from the socket."""
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read from the socket again."""
        if self._paused:
            self._paused = False
            self._received_at = self._loop.time()
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def abort(self) -> None:
        """Cut the connection. Idempotent. A waiting request gets an ``UpstreamError``."""
        self._fail("closed", "the connection was cut")

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Handle an established connection, after the TLS handshake if any."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Feed the parser. Any parser error ends this connection."""
        if not self._busy:
            self.abort()  # Unsolicited bytes would be read as the next response.
            return
        self._received_at = self._loop.time()
        self._progress = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._done:
                message = "the upstream's answer is not valid HTTP/1.1"
                self._cut(self._rejection or UpstreamError("protocol", message))
                return
            self._dirty = True
        if self._done and self._response is not None:
            self._finish(self._response)
            return
        # Only complete headers and body chunks are progress, which limits endless headers, trailers and extensions.
        self._without_progress = 0 if self._progress else self._without_progress + len(data)
        if self._without_progress > self._limits.header_bytes:
            self._fail("too_large", "the headers of the answer are too large")

    def eof_received(self) -> bool:
        """Handle the end of the stream, which completes a response without a length."""
        if self._busy and self._response is not None and not self._sized:
            self._keep_alive = False
            self._finish(self._response)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle a closed socket."""
        self._end(UpstreamError("closed", "the upstream closed the connection early"))

    # httptools callbacks

    def on_message_begin(self) -> None:
        """Handle a new message; a second one makes the connection unusable."""
        if self._done:
            self._dirty = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header, or count and drop a trailer."""
        if self._done:
            return
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > self._limits.header_bytes:
            self._reject("too_large", "the headers of the answer are too large")
        if self._response is None:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check the headers and return the response to its request."""
        if self._done:
            return
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                self._reject("protocol", "the upstream switched protocols")
            self._informational = True
            self._headers = []
            return
        for name, value in self._headers:
            if name == b"content-encoding" and value.lower() != b"identity":
                self._reject("compressed", "the upstream compressed its answer unasked")
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                self._reject("compressed", "the upstream used a transfer encoding other than chunked")
            elif name in (b"content-length", b"transfer-encoding"):
                self._sized = True
        if self._head is None or self._head.done():
            self._reject("closed", "no request waits for the answer")
        self._keep_alive = self._parser.should_keep_alive()
        self._progress = True
        self._response = OutboundResponse(status, self._headers, self, self._limits)
        self._head.set_result(self._response)

    def on_body(self, body: bytes) -> None:
        """Pass a chunk of the body to the response."""
        if not self._done and self._response is not None:
            self._progress = True
            self._response.on_data(body)

    def on_message_complete(self) -> None:
        """Note that a response, or an informational one before it, is complete."""
        if self._informational:
            self._informational = False
        else:
            self._done = True

    # Ends

    def _reject(self, kind: UpstreamErrorKind, message: str) -> NoReturn:
        self._rejection = UpstreamError(kind, message)
        raise self._rejection

    def _finish(self, response: OutboundResponse) -> None:
        self._busy = False
        self._response = self._head = None
        response.on_complete()
        # Unsent bytes of the request mean that the upstream answered before it had read all of it.
        unsent = self._transport is None or self._transport.get_write_buffer_size()
        if self._dirty or not self._keep_alive or unsent:
            self.abort()
        else:
            self.resume()
            self._owner.release(self)

    def _fail(self, kind: UpstreamErrorKind, message: str) -> None:
        self._cut(UpstreamError(kind, message))

    def _cut(self, error: UpstreamError) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._end(error)

    def _end(self, error: UpstreamError) -> None:
        head, response = self._head, self._response
        self._head = self._response = None
        self._busy = False
        if head is not None and not head.done():
            head.set_exception(error)
        if response is not None:
            response.on_failed(error)
        if not self.closed:
            self.closed = True
            self._owner.retire(self)
