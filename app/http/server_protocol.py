"""uvicorn's HTTP/1.1 with additional limits: on time, heads, pipelined requests and unread responses.

A client that is slow on purpose, or disappears, loses its connection without an effect on others. One coarse timer per
connection checks all of its times, so that a request needs no timer of its own.
"""

import asyncio
import re
import resource
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.http.lean_http import LeanCycle, LeanHttp
from app.lib.tcp import enable_keepalive

HEAD_BYTES = 32 * 1024
"""The size of request line and headers; also of the framing of a chunked body without data."""
MAX_HEADERS = 100
MAX_PIPELINED = 16
MAX_CONNECTIONS = 8192
_MIN_ACCEPTED_BYTES = 16 * 1024
"""The bytes of a pending response that a client must accept within the write time-out."""
_LOOKED_AT = 64
_SCHEMES = frozenset({b"http", b"https"})
_AUTHORITY_END = re.compile(rb"[/?]")
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


@dataclass(frozen=True, slots=True)
class SocketTimes:
    """Times in seconds. Those for reading stop while the server holds the client back."""

    head: float = 10.0
    """From the connection, or the first byte of a request, to the end of its headers."""
    request: float = 30.0
    """From the first byte of a request to its last."""
    linger: float = 5.0
    """For the rest of a request that was answered before it was complete."""
    idle: float = 75.0
    """Between two requests; above the 60 s for which common proxies keep connections."""
    write: float = 60.0
    """For a client to accept a part of a pending response, and for the rest after the server closed."""
    look: float = 1.0
    """How often the times are checked, and therefore their maximum delay."""


class _Reading(Enum):
    """The part of a request that the server waits for."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    NOTHING = 3


_Answer = tuple[int, str]
_MALFORMED: _Answer = (400, "Invalid HTTP request received.")
_TOO_LARGE: _Answer = (431, "The headers of the request are too large.")
_TOO_MANY: _Answer = (400, "Too many requests were sent without waiting for answers.")
_TOO_SLOW: _Answer = (408, "The request did not arrive in time.")


class _Refusal(Exception):
    """Raised inside the parser's callbacks to end the connection."""

    def __init__(self, answer: _Answer) -> None:
        super().__init__(answer[1])
        self.answer = answer


class GuardedHttp(LeanHttp):
    """One connection. Pass the class to ``uvicorn.Config(http=...)``; a subclass may have other times."""

    times: ClassVar[SocketTimes] = SocketTimes()
    most: ClassVar[int] = MAX_CONNECTIONS
    """The connections of a worker, up to half of its open files; the rest is for upstreams and the database."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading = _Reading.IDLE
        self._asked = False
        self._since = 0.0
        self._without_progress = 0
        self._progress = self._large = False
        self._answering: LeanCycle | None = None
        self._framing = b""
        self._replays = False
        self._timer: asyncio.TimerHandle | None = None
        self._unread_since: float | None = None
        self._unread = 0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, if needed by closing an idle one."""
        super().connection_made(transport)
        enable_keepalive(transport)
        self._since = self.loop.time()
        self._timer = self.loop.call_later(self.times.look, self._look)
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if len(self.connections) > min(self.most, files // 2) and not self._displace():
            transport.abort()

    @property
    def rests(self) -> bool:
        """Whether no request is being processed."""
        serves = self._answering is not None and not self._answering.response_complete
        return (
            self._reading in {_Reading.IDLE, _Reading.HEAD} and not serves and not self.transport.is_closing()
        )

    def _displace(self) -> bool:
        for connection, _ in zip(self.connections, range(_LOOKED_AT), strict=False):
            if isinstance(connection, GuardedHttp) and connection is not self and connection.rests:
                connection.transport.abort()
                return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify all running and queued requests; uvicorn only notifies the last one."""
        if self._timer is not None:
            self._timer.cancel()
        waiting = [cycle for cycle, _ in self.pipeline]
        self.pipeline.clear()
        for cycle in (self._answering, *waiting):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; an invalid request ends the connection."""
        self._progress = False
        self._large = len(data) > HEAD_BYTES
        try:
            while data:
                data = self._feed(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.answer if isinstance(cause, _Refusal) else _MALFORMED)

    def _feed(self, data: bytes) -> bytes:
        """Feed the parser, and return the rest. Raises ``HttpParserError``."""
        rest = b""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # No upgrade is supported, so the body, if any, and the next request follow.
            rest = data[upgrade.args[0] :]
            if self._framing:
                self._replay()
        self._without_progress = 0 if self._progress else self._without_progress + len(data)
        if self._without_progress > HEAD_BYTES:
            self._refuse(_TOO_LARGE)
            return b""
        return rest

    def _replay(self) -> None:
        """Make the parser read the body, which it leaves to the protocol of an announced upgrade.

        Read as the next request, it would be a request that no proxy in front has seen. Raises ``HttpParserError``.
        """
        head, self._framing = b"POST / HTTP/1.1\r\n%b\r\n" % self._framing, b""
        self._replays = True
        self.parser.feed_data(head)

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._replays:
            return
        super().on_message_begin()
        self._reading = _Reading.HEAD
        self._since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Check the head, then start or queue the request."""
        if self._replays:
            self._replays = False
            return
        if len(self.headers) > MAX_HEADERS or (
            self._large
            and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES
        ):
            raise _Refusal(_TOO_LARGE)
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refusal(_TOO_MANY)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _Refusal(_MALFORMED)
            framing = [header for header in self.headers if header[0] in _FRAMING]
            self._framing = b"".join([b"%b: %b\r\n" % header for header in framing])
        if not self.url.startswith(b"/") or b"#" in self.url:
            self._check_target()
        self._asked = self._progress = True
        self._reading = _Reading.BODY
        super().on_headers_complete()
        # Fields after the body are trailers, not headers: they were not there when the headers were checked.
        self.headers = []

    def _check_target(self) -> None:
        """Treat the authority of a target in absolute form as another ``Host``, unless both are equal.

        RFC 9112 section 3.2.2: the authority counts, and a request with two hosts is refused. A target has no fragment
        (section 3.2).
        """
        scheme, separator, rest = self.url.partition(b"://")
        if b"#" in self.url or not separator or scheme.lower() not in _SCHEMES:
            raise _Refusal(_MALFORMED)
        authority = _AUTHORITY_END.split(rest, maxsplit=1)[0].lower()
        if authority not in [value.lower() for name, value in self.headers if name == b"host"]:
            self.headers.append((b"host", authority))

    def on_body(self, body: bytes) -> None:
        """Add a part of a body."""
        self._progress = True
        cycle = self.cycle
        if cycle.response_complete:
            return
        if not cycle.body:
            cycle.body = body
        else:
            if isinstance(cycle.body, bytes):
                # Each of many small parts would otherwise copy all previous ones.
                cycle.body = bytearray(cycle.body)
            cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """End a request."""
        if self._framing:
            return
        self._progress = True
        cycle = self.cycle
        if cycle.response_complete:
            self._rest()
            return
        self._reading = _Reading.NOTHING
        cycle.more_body = False
        cycle.message_event.set()

    # Responses

    def _start_asgi_task(self, cycle: LeanCycle, app: Any) -> None:  # type: ignore[override]
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Continue with the next queued request, or become idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._reading is _Reading.NOTHING:
            self._rest()
        elif self._reading is _Reading.BODY and self.cycle.response_complete:
            until = self.loop.time() + self.times.linger
            self._since = min(self._since, until - self.times.request)

    def _rest(self) -> None:
        self._reading = _Reading.IDLE
        self._since = self.loop.time()

    def _refuse(self, answer: _Answer) -> None:
        if self._answering is not None and not self._answering.response_complete:
            # The text would be read as a part of the response that is being sent.
            self.transport.abort()
            return
        status, words = answer[0], answer[1].encode("ascii")
        lines = [STATUS_LINE[status]]
        for name, value in self.server_state.default_headers:
            lines += [name, b": ", value, b"\r\n"]
        lines.append(
            b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (len(words), words)
        )
        self.transport.write(b"".join(lines))
        self.transport.close()

    # Times

    def _look(self) -> None:
        now, transport = self.loop.time(), self.transport
        self._timer = self.loop.call_later(self.times.look, self._look)
        if self.flow.write_paused or transport.is_closing():
            if self._is_stalled(now, transport.get_write_buffer_size()):
                transport.abort()
            return
        self._unread_since = None
        if self.flow.read_paused:
            self._since = now
        else:
            self._look_at_reading(now)

    def _is_stalled(self, now: float, unread: int) -> bool:
        """Whether the client accepted too little of the pending response."""
        if self._unread_since is None or unread <= self._unread - _MIN_ACCEPTED_BYTES:
            self._unread_since, self._unread = now, unread
        return now - self._unread_since >= self.times.write

    def _look_at_reading(self, now: float) -> None:
        waited = now - self._since
        if self._reading is _Reading.IDLE:
            if waited >= (self.times.idle if self._asked else self.times.head):
                self.transport.close()
        elif self._reading is _Reading.HEAD:
            if waited >= self.times.head:
                self._refuse(_TOO_SLOW)
        elif self._reading is _Reading.BODY and waited >= self.times.request:
            self._give_up_body()

    def _give_up_body(self) -> None:
        if self.cycle.response_started:
            self.transport.abort()
        elif self._answering is self.cycle:
            # The request's task sees a disconnect, and its response is discarded.
            self._answering = None
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._refuse(_TOO_SLOW)
        else:
            self.transport.abort()
