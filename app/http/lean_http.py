"""uvicorn's HTTP/1.1 with less work per request: the same ASGI, in half the time.

The head of a response is sent with the beginning of its body (which ASGI allows), since a write is the most expensive
part of a small response. Rarely needed parts of a request (an event to wait for, a parsed URL) are created on demand.
There is no access log and no upgrade to another protocol. See ADR 5.
"""

import asyncio
import re
from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

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
        except BaseException:
            protocol.logger.exception("Exception in ASGI application")
            if self.response_started:
                protocol.transport.close()
        if not self.disconnected and not self.response_complete:
            if self.response_started:
                protocol.transport.close()
            else:
                await self._apologise()

    async def _apologise(self) -> None:
        words = b"Internal Server Error"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(words)),
            (b"connection", b"close"),
        ]
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
                    self._ask_for_body()
                    self._waiting = asyncio.Event()
                # The event may be set for something that was already received.
                self._waiting.clear()
                await self._waiting.wait()
            self._news = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, b""
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}

    def _ask_for_body(self) -> None:
        """Send 100 Continue if the client may wait for it (RFC 9110, 10.1.1)."""
        transport = self._protocol.transport
        if self._may_be_waited_for() and not self.response_started and not transport.is_closing():
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _may_be_waited_for(self) -> bool:
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
            self._go_on(message.get("body", b""), message.get("more_body", False))
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
            or self._may_be_waited_for()
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
        found = dict(headers)
        self.response_started = True
        if self._may_be_waited_for():
            # The client may send the announced body later, which would be read as its next request.
            self.keep_alive = False
        if b"connection" in found and b"close" in found[b"connection"].lower():
            self.keep_alive = False
        elif not self.keep_alive:
            block += b"connection: close\r\n"
        if b"content-length" in found:
            self.left = int(found[b"content-length"])
        elif self._scope["method"] != "HEAD" and status not in _BODILESS:
            self.chunked = True
            if b"transfer-encoding" not in found:
                block += b"transfer-encoding: chunked\r\n"
        self._head = b"%b%b\r\n" % (STATUS_LINE[status], block)

    def _go_on(self, body: bytes, more: bool) -> None:
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
