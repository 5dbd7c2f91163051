"""uvicorn's HTTP/1.1 with less work per request, and with additional limits. See ADR 5.

``LeanHttp`` is the same ASGI in half the time. The head of a response is sent with the beginning of its body (which
ASGI allows), since a write is the most expensive part of a small response. Rarely needed parts of a request (an event
to wait for, a parsed URL) are created on demand. There is no access log and no upgrade to another protocol.

``GuardedHttp`` limits time, heads, pipelined requests and unread responses. A client that is slow on purpose, or
disappears, loses its connection without an effect on others. One coarse timer per connection checks all of its times,
so that a request needs no timer of its own.
"""

import asyncio
import re
import resource
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, ClassVar
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.lib.logs import log_fault
from app.lib.tcp import enable_keepalive

# RFC 9110, 5.6.2 and 5.5: a token (in lower case, as in ASGI), then anything but control characters; complete lines, so
# that no line can be injected.
_HEADER_BLOCK = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9a-z]+: [\t\x20-\x7e\x80-\xff]*\r\n)*")
_MIN_SEPARATE_BYTES = 64 * 1024
"""The size at which copying costs more than another write."""
_BODILESS = frozenset({204, 304})


class LeanCycle:
    """One request and its response. It is its own ASGI ``send``, one that can also respond ``at_once``."""

    __slots__ = (
        "_asked",
        "_head",
        "_news",
        "_protocol",
        "_scope",
        "_waiting",
        "body",
        "chunked",
        "disconnected",
        "keep_alive",
        "left",
        "more_body",
        "response_complete",
        "response_started",
    )

    def __init__(self, protocol: "LeanHttp", scope: Any, keep_alive: bool) -> None:
        self._protocol = protocol
        self._scope = scope
        self.keep_alive = keep_alive
        self.body: bytes | bytearray = b""
        self.more_body = True
        self.disconnected = False
        self.response_started = self.response_complete = False
        self.chunked = False
        self.left = 0
        """The bytes of the response that are still missing."""
        self._head = b""
        # Whether the application has received anything, and whether something has arrived since then.
        self._asked = self._news = False
        self._waiting: asyncio.Event | None = None

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Run the application; an incomplete response ends the connection."""
        protocol = self._protocol
        try:
            await app(self._scope, self.receive, self)
        except BaseException as error:  # noqa: BLE001
            log_fault(protocol.logger, "the application", error)
            if self.response_started:
                protocol.transport.close()
        if not self.disconnected and not self.response_complete:
            if self.response_started:
                protocol.transport.close()
            else:
                words, length = b"Internal Server Error", (b"content-length", b"21")
                headers = [(b"content-type", b"text/plain; charset=utf-8"), length, (b"connection", b"close")]
                await self({"type": "http.response.start", "status": 500, "headers": headers})
                await self({"type": "http.response.body", "body": words})

    @property
    def message_event(self) -> "LeanCycle":
        """The event that uvicorn sets when something arrives; this class implements the part that it needs."""
        return self

    def set(self) -> None:
        """Wake the application."""
        self._news = True
        if self._waiting is not None:
            self._waiting.set()

    async def receive(self) -> Any:
        """Receive the next part of the request, or a disconnect, which the end of the response counts as."""
        self._asked = True
        if not self.disconnected and not self.response_complete:
            self._protocol.flow.resume_reading()
            if not self._news:
                if self._waiting is None:
                    # The client may wait for 100 Continue (RFC 9110, 10.1.1).
                    transport = self._protocol.transport
                    closing = self.response_started or transport.is_closing()
                    if self._may_expect_continue() and not closing:
                        transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    self._waiting = asyncio.Event()
                # The event may be set for something that was already received.
                self._waiting.clear()
                await self._waiting.wait()
            self._news = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, b""
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}

    def _may_expect_continue(self) -> bool:
        """Whether the client may wait for 100 Continue, and did not get it."""
        if not self.more_body or self._waiting is not None:
            return False
        expected: bytes = dict(self._scope["headers"]).get(b"expect", b"")
        return expected.lower() == b"100-continue"

    async def __call__(self, message: Any) -> None:
        """Send a part of the response, as ASGI's ``send``. Raises ``RuntimeError`` for other messages."""
        flow = self._protocol.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.response_started:
            self._begin(message["status"], message.get("headers", ()))
        elif kind == "http.response.body" and self.response_started and not self.response_complete:
            self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind} is out of turn")

    def whole_body(self) -> bytes | None:
        """Return the body if it is complete and none of it was received; otherwise use ``receive``."""
        if self.more_body or self._asked or self.disconnected:
            return None
        self._asked, self._news = True, False
        body, self.body = self.body, b""
        return bytes(body)

    def at_once(self, status: int, block: bytes, body: bytes) -> bool:
        """Send a complete response in one write; False if it must be sent in parts.

        ``block`` contains header lines of the application, which must not contain untrusted input.
        """
        protocol = self._protocol
        if (
            self.response_started
            or protocol.flow.write_paused
            or not self.keep_alive
            or self._scope["method"] == "HEAD"
            or self._may_expect_continue()
        ):
            return False
        if not self.disconnected:
            self.response_started = True
            date = _same_lines(tuple(protocol.server_state.default_headers))
            length = str(len(body)).encode()
            protocol.transport.write(
                b"".join((STATUS_LINE[status], date, block, b"content-length: ", length, b"\r\n\r\n", body))
            )
            self._complete()
        return True

    def _begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        headers = list(headers)
        block = _same_lines(tuple(self._protocol.server_state.default_headers)) + _lines(headers)
        by_name = dict(headers)
        self.response_started = True
        if self._may_expect_continue():
            # The client may send the announced body later, which would be read as its next request.
            self.keep_alive = False
        if b"connection" in by_name and b"close" in by_name[b"connection"].lower():
            self.keep_alive = False
        elif not self.keep_alive:
            block += b"connection: close\r\n"
        if b"content-length" in by_name:
            self.left = int(by_name[b"content-length"])
        elif self._scope["method"] != "HEAD" and status not in _BODILESS:
            self.chunked = True
            if b"transfer-encoding" not in by_name:
                block += b"transfer-encoding: chunked\r\n"
        self._head = b"%b%b\r\n" % (STATUS_LINE[status], block)

    def _send_body(self, body: bytes, more: bool) -> None:
        content, self._head = self._head, b""
        if self._scope["method"] == "HEAD":
            self.left = 0
        elif self.chunked:
            if body:
                content += b"%x\r\n%b\r\n" % (len(body), body)
            if not more:
                content += b"0\r\n\r\n"
        else:
            self.left -= len(body)
            if self.left < 0 or (self.left and not more):
                raise RuntimeError("the answer is longer or shorter than its Content-Length")
            if len(body) > _MIN_SEPARATE_BYTES:
                self._protocol.transport.write(content)
                content = b""
            content += body
        self._protocol.transport.write(content)
        if not more:
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self.set()
        if not self.keep_alive:
            self._protocol.transport.close()
        self._protocol.on_response_complete()


@lru_cache(maxsize=4)
def _same_lines(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The headers that uvicorn adds to every response: the date, which changes every second."""
    return _lines(list(headers))


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Encode header lines. Raises ``RuntimeError`` for invalid headers, which could inject lines."""
    block = b"".join([b"%b: %b\r\n" % header for header in headers])
    if block.count(b"\n") != len(headers) or not _HEADER_BLOCK.fullmatch(block):
        raise RuntimeError("a header of the answer is not valid")
    return block


class LeanHttp(HttpToolsProtocol):
    """One connection."""

    cycle: LeanCycle  # type: ignore[assignment]
    pipeline: deque[tuple[LeanCycle, Any]]  # type: ignore[assignment]

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header of the request."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Start the request, or queue it."""
        parser, scope, url = self.parser, self.scope, self.url
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        if url.startswith(b"/"):
            raw_path, _, query = url.partition(b"?")
        else:
            parsed = httptools.parse_url(url)
            raw_path, query = parsed.path, parsed.query or b""
        path = raw_path.decode("ascii")
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + raw_path
        scope["query_string"] = query
        before: LeanCycle | None = self.cycle
        cycle = LeanCycle(self, scope, version != "1.0" and parser.should_keep_alive())
        self.cycle = cycle
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _start_asgi_task(self, cycle: LeanCycle, app: Any) -> None:  # type: ignore[override]
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _should_upgrade(self) -> bool:
        return False


HEAD_BYTES = 32 * 1024
"""The size of request line and headers; also of the framing of a chunked body without data."""
MAX_HEADERS = 100
MAX_PIPELINED = 16
MAX_CONNECTIONS = 8192
_MIN_ACCEPTED_BYTES = 16 * 1024
"""The bytes of a pending response that a client must accept within the write time-out."""
_MAX_EXAMINED = 64
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
    max_connections: ClassVar[int] = MAX_CONNECTIONS
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
        self._timer = self.loop.call_later(self.times.look, self._check_times)
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if (
            len(self.connections) > min(self.max_connections, files // 2)
            and not self._close_idle_connection()
        ):
            transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being processed."""
        serves = self._answering is not None and not self._answering.response_complete
        return (
            self._reading in {_Reading.IDLE, _Reading.HEAD} and not serves and not self.transport.is_closing()
        )

    def _close_idle_connection(self) -> bool:
        for connection, _ in zip(self.connections, range(_MAX_EXAMINED), strict=False):
            if isinstance(connection, GuardedHttp) and connection is not self and connection.is_idle:
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
            self._become_idle()
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
            self._become_idle()
        elif self._reading is _Reading.BODY and self.cycle.response_complete:
            until = self.loop.time() + self.times.linger
            self._since = min(self._since, until - self.times.request)

    def _become_idle(self) -> None:
        self._reading = _Reading.IDLE
        self._since = self.loop.time()

    def _refuse(self, answer: _Answer) -> None:
        if self._answering is not None and not self._answering.response_complete:
            # The text would be read as a part of the response that is being sent.
            self.transport.abort()
            return
        status, words = answer[0], answer[1].encode("ascii")
        head = STATUS_LINE[status] + _same_lines(tuple(self.server_state.default_headers))
        head += b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" % len(words)
        self.transport.write(head + b"connection: close\r\n\r\n" + words)
        self.transport.close()

    # Times

    def _check_times(self) -> None:
        now, transport = self.loop.time(), self.transport
        self._timer = self.loop.call_later(self.times.look, self._check_times)
        if self.flow.write_paused or transport.is_closing():
            unread = transport.get_write_buffer_size()
            if self._unread_since is None or unread <= self._unread - _MIN_ACCEPTED_BYTES:
                self._unread_since, self._unread = now, unread
            # The client accepted too little of the pending response.
            if now - self._unread_since >= self.times.write:
                transport.abort()
            return
        self._unread_since = None
        if self.flow.read_paused:
            self._since = now
        else:
            self._check_reading(now)

    def _check_reading(self, now: float) -> None:
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
