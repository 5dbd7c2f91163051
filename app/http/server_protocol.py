"""uvicorn's HTTP/1.1 with bounds that it does not have: on time, on heads, on pipelines and on answers nobody reads.

Whoever is slow on purpose, or goes away half-way, loses the connection; nobody else notices. One coarse timer for
each connection looks after all of its times, so a request costs no timer of its own.
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
"""Request line and headers; also what may come of a chunked body without any of the body itself."""
MAX_HEADERS = 100
MAX_PIPELINED = 16
MAX_CONNECTIONS = 8192
_TAKEN = 16 * 1024
"""Of an answer that waits, a client takes at least so much within the time for it."""
_LOOKED_AT = 64
_SCHEMES = frozenset({b"http", b"https"})
_AUTHORITY_END = re.compile(rb"[/?]")
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


@dataclass(frozen=True, slots=True)
class SocketTimes:
    """In seconds. None of those for reading runs while we hold the client back."""

    head: float = 10.0
    """From connecting, or the first byte of a request, to the end of its headers."""
    request: float = 30.0
    """From the first byte of a request to its last."""
    linger: float = 5.0
    """For the rest of a request that was answered before it was whole."""
    idle: float = 75.0
    """Between two requests; above the 60 s for which common proxies keep theirs."""
    write: float = 60.0
    """For a client to take some of an answer that waits, and for the rest after we closed."""
    look: float = 1.0
    """How often all these are looked at: they may be late by so much."""


class _Reading(Enum):
    """What of the client is awaited."""

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
    """Connections of one worker, as far as half of its open files go; the rest is for upstreams and the database."""

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
        """Take it, if need be in the place of one that rests."""
        super().connection_made(transport)
        enable_keepalive(transport)
        self._since = self.loop.time()
        self._timer = self.loop.call_later(self.times.look, self._look)
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if len(self.connections) > min(self.most, files // 2) and not self._displace():
            transport.abort()

    @property
    def rests(self) -> bool:
        """No request is there that anybody works on."""
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
        """Tell every request that is being answered or waits; uvicorn tells the last one alone."""
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
        """Feed the parser; what it finds wrong ends the connection."""
        self._progress = False
        self._large = len(data) > HEAD_BYTES
        try:
            while data:
                data = self._feed(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.answer if isinstance(cause, _Refusal) else _MALFORMED)

    def _feed(self, data: bytes) -> bytes:
        """What the parser left. Raises ``HttpParserError``."""
        rest = b""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # To nothing else is changed here, so what follows is the body, if there is one, and the next request.
            rest = data[upgrade.args[0] :]
            if self._framing:
                self._replay()
        self._without_progress = 0 if self._progress else self._without_progress + len(data)
        if self._without_progress > HEAD_BYTES:
            self._refuse(_TOO_LARGE)
            return b""
        return rest

    def _replay(self) -> None:
        """Have the parser read the body, which it leaves to the protocol that it expects to come.

        Taken for the next request, it would be one that whoever stands before us never saw. Raises ``HttpParserError``.
        """
        head, self._framing = b"POST / HTTP/1.1\r\n%b\r\n" % self._framing, b""
        self._replays = True
        self.parser.feed_data(head)

    # What the parser finds

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._replays:
            return
        super().on_message_begin()
        self._reading = _Reading.HEAD
        self._since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Check the head, then start the request or let it wait for its turn."""
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
        # What comes after the body is a trailer, and no header: it was not there when headers were checked.
        self.headers = []

    def _check_target(self) -> None:
        """Take the authority of a target in absolute form for one more ``Host``, unless it says the same.

        RFC 9112 section 3.2.2: it is what counts, and a request that names two hosts is refused. A target has no
        fragment (section 3.2).
        """
        scheme, separator, rest = self.url.partition(b"://")
        if b"#" in self.url or not separator or scheme.lower() not in _SCHEMES:
            raise _Refusal(_MALFORMED)
        authority = _AUTHORITY_END.split(rest, maxsplit=1)[0].lower()
        if authority not in [value.lower() for name, value in self.headers if name == b"host"]:
            self.headers.append((b"host", authority))

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._progress = True
        cycle = self.cycle
        if cycle.response_complete:
            return
        if not cycle.body:
            cycle.body = body
        else:
            if isinstance(cycle.body, bytes):
                # Of many small pieces, each would otherwise copy all that came before.
                cycle.body = bytearray(cycle.body)
            cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """A request is whole."""
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

    # Answers

    def _start_asgi_task(self, cycle: LeanCycle, app: Any) -> None:  # type: ignore[override]
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on with the request that waits, or rest."""
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
            # Nobody could tell these words from the answer that is under way.
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
        """Whether the client took too little of what waits for it."""
        if self._unread_since is None or unread <= self._unread - _TAKEN:
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
            # The request's task is told that the client left, and answers nobody.
            self._answering = None
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._refuse(_TOO_SLOW)
        else:
            self.transport.abort()
