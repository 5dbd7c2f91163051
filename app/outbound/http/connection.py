"""One keep-alive connection: an asyncio protocol on httptools (llhttp).

Caps and times of outbound requests. Sizes in bytes, times in seconds.

The answer to an outbound request.
"""

import asyncio
import select
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import NoReturn, Protocol, cast

import httptools

from app.outbound.http.guard import UpstreamError, UpstreamErrorKind


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps that hold for every request of one client."""

    header_bytes: int = 32 * 1024
    """Status line and headers of one answer, informational answers before it included."""
    body_bytes: int = 16 * 1024 * 1024
    """What ``read`` accepts unless told otherwise."""
    buffer_bytes: int = 64 * 1024
    """Unread bytes of an answer at which reading from the socket pauses."""
    connections_per_origin: int = 256
    connections_per_caller: int = 64
    """Of these, so that nobody keeps all of them from others."""
    idle_connection: float = 4.0
    """An unused connection is closed after this; below the 5 s after which common servers close theirs."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Times of one request, kept to within a tenth of a second. ``None`` is no limit."""

    connect: float = 5.0
    """Waiting for a free connection, and resolving, connecting and the TLS handshake: each."""
    first_byte: float | None = 60.0
    """From sending to the headers of the answer."""
    idle: float | None = 60.0
    """Between two pieces of the answer; does not run while our own reader holds the upstream back."""
    total: float | None = 300.0
    """From sending to the end of the answer."""


DEFAULT_LIMITS = Limits()
DEFAULT_TIMEOUTS = Timeouts()


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


# A connection that rested this long (seconds) is asked for a pending end or stray bytes before it is used: the
# event loop may not have come round to telling us.
_LOOK_AFTER_REST = 0.5


class Keeper(Protocol):
    """The pool, as a connection sees it."""

    def release(self, connection: "Connection") -> None:
        """The answer is complete and the connection is clean."""

    def retire(self, connection: "Connection") -> None:
        """The connection is gone."""


class Connection(asyncio.Protocol):
    """Sends one request at a time. Never sends anything twice: what fails after ``start`` has failed."""

    def __init__(self, keeper: Keeper, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._keeper = keeper
        self._limits = limits
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self.closed = False
        self.rested_since = 0.0
        self.caller: int | None = None
        """For whom it is in use, as the pool counts."""
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
        self._refusal: UpstreamError | None = None
        self._timeouts = timeouts
        self._started = self._heard = now

    # What the pool and the client call

    def start(self, wire: bytes, timeouts: Timeouts) -> asyncio.Future[OutboundResponse]:
        """Write a request; the future gives the answer's head or an ``UpstreamError``."""
        transport = self._transport
        if transport is None or self._busy or self.closed:
            raise RuntimeError("the connection is not free")
        self._begin(timeouts, self._loop.time())
        self._busy = True
        self._head = self._loop.create_future()
        transport.write(wire)
        return self._head

    def usable(self, now: float) -> bool:
        """True when a request may be written: open, and nothing came in since the last answer."""
        if self.closed or self._transport is None or self._transport.is_closing():
            return False
        return now - self.rested_since < _LOOK_AFTER_REST or not self._readable(self._transport)

    def _readable(self, transport: asyncio.Transport) -> bool:
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(self._poll.poll(0))

    def check_time(self, now: float) -> None:
        """Fail the request when one of its times is up."""
        if not self._busy:
            return
        times = self._timeouts
        if times.total is not None and now - self._started >= times.total:
            self._fail("timeout", "the upstream took too long to answer in full")
        elif self._response is None:
            if times.first_byte is not None and now - self._started >= times.first_byte:
                self._fail("timeout", "the upstream did not begin to answer in time")
        elif times.idle is not None and not self._paused and now - self._heard >= times.idle:
            self._fail("timeout", "the upstream stopped in the middle of its answer")

    def pause(self) -> None:
        """Hold the upstream back."""
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Let the upstream go on."""
        if self._paused:
            self._paused = False
            self._heard = self._loop.time()
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def abort(self) -> None:
        """Cut at once. Idempotent; whoever waits for the answer gets an ``UpstreamError``."""
        if self._transport is not None:
            self._transport.abort()
        self._gone(UpstreamError("closed", "the connection was cut", may_have_been_sent=True))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected (and, with TLS, shaken hands)."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; whatever it finds wrong ends this connection, never the process."""
        if not self._busy:
            self.abort()  # Bytes that nobody asked for would be taken for the next answer.
            return
        self._heard = self._loop.time()
        self._progress = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._done:
                error = self._refusal
                if error is None:
                    self._fail("protocol", "the upstream's answer is not valid HTTP/1.1")
                else:
                    self._fail(error.kind, error.message)
                return
            self._dirty = True
        if self._done and self._response is not None:
            self._finish(self._response)
            return
        # Only completed headers and body pieces count: this bounds an endless header, trailer or chunk extension.
        self._without_progress = 0 if self._progress else self._without_progress + len(data)
        if self._without_progress > self._limits.header_bytes:
            self._fail("too_large", "the headers of the answer are too large")

    def eof_received(self) -> bool:
        """The upstream closed: the end of an answer without a length, else too early."""
        if self._busy and self._response is not None and not self._sized:
            self._keep_alive = False
            self._finish(self._response)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._gone(
            UpstreamError("closed", "the upstream closed the connection early", may_have_been_sent=True)
        )

    # httptools callbacks

    def on_message_begin(self) -> None:
        """A second message behind a complete one makes the connection unfit for use."""
        if self._done:
            self._dirty = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which is counted and dropped."""
        if self._done:
            return
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > self._limits.header_bytes:
            self._refuse("too_large", "the headers of the answer are too large")
        if self._response is None:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check the head and hand it out."""
        if self._done:
            return
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                self._refuse("protocol", "the upstream switched protocols")
            self._informational = True
            self._headers = []
            return
        for name, value in self._headers:
            self._check_header(name, value)
        if self._head is None or self._head.done():
            self._refuse("closed", "nobody waits for the answer")
        self._keep_alive = self._parser.should_keep_alive()
        self._progress = True
        self._response = OutboundResponse(status, self._headers, self, self._limits)
        self._head.set_result(self._response)

    def _check_header(self, name: bytes, value: bytes) -> None:
        if name == b"content-encoding" and value.lower() != b"identity":
            self._refuse("compressed", "the upstream compressed its answer unasked")
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            self._refuse("compressed", "the upstream used a transfer encoding other than chunked")
        elif name in (b"content-length", b"transfer-encoding"):
            self._sized = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if not self._done and self._response is not None:
            self._progress = True
            self._response.on_data(body)

    def on_message_complete(self) -> None:
        """The answer, or an informational one before it, is whole."""
        if self._informational:
            self._informational = False
        else:
            self._done = True

    # Ends

    def _refuse(self, kind: UpstreamErrorKind, message: str) -> NoReturn:
        self._refusal = UpstreamError(kind, message, may_have_been_sent=True)
        raise self._refusal

    def _finish(self, response: OutboundResponse) -> None:
        self._busy = False
        self._response = self._head = None
        response.on_complete()
        # Bytes of the request that are still unsent mean that the upstream answered without reading it all.
        unsent = self._transport is None or self._transport.get_write_buffer_size()
        if self._dirty or not self._keep_alive or unsent:
            self.abort()
        else:
            self.resume()
            self._keeper.release(self)

    def _fail(self, kind: UpstreamErrorKind, message: str) -> None:
        error = UpstreamError(kind, message, may_have_been_sent=True)
        if self._transport is not None:
            self._transport.abort()
        self._gone(error)

    def _gone(self, error: UpstreamError) -> None:
        head, response = self._head, self._response
        self._head = self._response = None
        self._busy = False
        if head is not None and not head.done():
            head.set_exception(error)
        if response is not None:
            response.on_failed(error)
        if not self.closed:
            self.closed = True
            self._keeper.retire(self)
