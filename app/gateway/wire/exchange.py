"""One HTTP request to the gateway and its answer, its time budget for the database, and the watch over its client."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar

from app.admission.store import Client, StoreUnavailable
from app.domain.objects import Address, Network
from app.gateway.wire.refusals import Refused
from app.lib import strict_json
from app.lib.event_loop import is_on_loop
from app.lib.ids import accept_request_id, new_request_id
from app.lib.sse import encode_event

WATCH_AFTER = 0.05
"""Seconds before a task watches the client. Most calls end before that and need no task."""
FIRST_COMMENT, NEXT_COMMENT = 5.0, 15.0
TICK = 0.05
"""Seconds. An alarm may be late by this much."""


class Alarms:
    """Cheap coarse timers of one event loop, for callbacks that are usually cleared before they are due."""

    def __init__(self) -> None:
        self._due: dict[int, tuple[float, Callable[[], None]]] = {}
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float, ring: Callable[[], None]) -> int:
        """Call ``ring`` after so many seconds. Returns a key for ``clear``."""
        self._next = key = self._next + 1
        self._due[key] = (monotonic() + seconds, ring)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
        return key

    def clear(self, key: int) -> None:
        """Clear an alarm, if it is not due yet."""
        self._due.pop(key, None)

    def _tick(self) -> None:
        now = monotonic()
        for key, (due, ring) in list(self._due.items()):
            if due <= now:
                del self._due[key]
                ring()
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick) if self._due else None


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
HeaderList = Sequence[tuple[bytes, bytes]]
BODY_SECONDS = 15.0
"""How long a client may take to send its body before it gets 408."""
_CACHED_BYTES = 256
"""Maximum length of a cached value from a client."""
_PRIVATE = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))
_JSON_HEADERS = ((b"content-type", b"application/json"), *_PRIVATE)
_REQUEST_ID_NAME = b"x-request-id"
_JSON_LINES = b"".join([b"%b: %b\r\n" % header for header in (*_JSON_HEADERS, (_REQUEST_ID_NAME, b"%b"))])
_STREAM_HEADERS = [(b"content-type", b"text/event-stream"), *_PRIVATE]


class ClientGone(Exception):
    """The client disconnected before its request was complete, so there is no one to answer."""


class Exchange:
    """An HTTP request and its answer. ``id`` is the JSON-RPC id of the answer, once known."""

    id: str | int | None = None
    duplicated: frozenset[bytes] = frozenset()
    started = False
    complete = False
    sending = False
    recorded = False
    """The audit log has a row of the request: it was decided, or counted as refused."""
    waited_s = 0.0
    """Seconds that the request has waited for the database, without the current wait."""
    waits = 0
    waiting_since = 0.0

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, alarms: Alarms, proxies: tuple[Network, ...]
    ) -> None:
        self.alarms = alarms
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        lines = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(lines)
        if len(self.headers) != len(lines):
            counts = Counter(name for name, _ in lines)
            self.duplicated = frozenset(name for name, count in counts.items() if count > 1)
            # Keep the first of duplicated headers. Where duplicates matter, the request is refused.
            self.headers = dict(reversed(lines))
        peer, agent = scope.get("client"), self.headers.get(b"user-agent")
        host: str | None = None if peer is None else peer[0]
        short = len(host or "") <= _CACHED_BYTES and len(agent or b"") <= _CACHED_BYTES
        look = client_at if short else client_at.__wrapped__
        self.address: Address | None
        self.client: Client
        self.address, self.client = look(host, agent)
        if proxies:
            # Some proxies add a separate header line. All lines are one list (RFC 9110, section 5.3).
            hops = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
            self.address = behind_proxies(self.address, b",".join(hops), proxies)
            self.client = _client(self.address, agent)
        request_id = self.headers.get(_REQUEST_ID_NAME)
        self.known_request_id: str | None = None if request_id is None else accept_request_id(request_id)
        """The ``X-Request-ID`` of the answer, once it has one."""

    @property
    def request_id(self) -> str:
        """The ``X-Request-ID`` of the answer: the client's, or a new one."""
        if self.known_request_id is None:
            self.known_request_id = new_request_id()
        return self.known_request_id

    def header(self, name: bytes) -> str | None:
        """Return the value of a header by its lower-case name."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def read_body(self, limit: int) -> bytes:
        """Read the whole body. Raises ``Refused`` (408, 413) and ``ClientGone``."""
        whole = getattr(self.send, "whole_body", None)
        body: bytes | None = None if whole is None else whole()
        if body is not None:
            if len(body) > limit:
                raise too_large(limit)
            return body
        task, late = asyncio.current_task(), False

        def ring() -> None:
            nonlocal late
            late = True
            if task is not None:
                task.cancel()

        alarm = self.alarms.set(BODY_SECONDS, ring)
        try:
            return await self._read_body(limit)
        except asyncio.CancelledError:
            if late and task is not None and task.uncancel() == 0:
                text, close = "The request body did not arrive in time.", (b"connection", b"close")
                raise Refused(408, -32600, text, headers=(close,)) from None
            raise
        finally:
            self.alarms.clear(alarm)

    async def _read_body(self, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            event = await self.receive()
            if event["type"] != "http.request":
                raise ClientGone
            part = event.get("body", b"")
            size += len(part)
            if size > limit:
                raise too_large(limit)
            if not event.get("more_body", False):
                return part if not parts else b"".join((*parts, part))
            parts.append(part)

    async def answer(self, status: int, body: bytes = b"", headers: HeaderList = ()) -> None:
        """Send an answer with a JSON body, as the last event if a stream has started."""
        if self.started:
            await self.stream(encode_event(body), last=True)
            return
        self.started = self.complete = True
        request_id = self.request_id.encode()
        if body and not headers:
            # Our HTTP server can send an answer in one write. Other servers get the two events below.
            at_once = getattr(self.send, "at_once", None)
            if at_once is not None and at_once(status, _JSON_LINES % request_id, body):
                return
        sent = [*(_JSON_HEADERS if body else _PRIVATE), (_REQUEST_ID_NAME, request_id), *headers]
        if status not in {202, 204} or body:
            sent.append((b"content-length", str(len(body)).encode()))
        elif status == 202:
            sent.append((b"content-length", b"0"))
        await self.send({"type": "http.response.start", "status": status, "headers": sent})
        await self.send({"type": "http.response.body", "body": body})

    async def answer_error(self, refused: Refused) -> None:
        """Send a JSON-RPC error, as the last event if a stream has started."""
        body = error_body(self.id, refused.code, refused.message, refused.data)
        if self.complete:
            return
        if self.started:
            # A stream that answers no request ends without an error.
            await self.stream(b"" if self.id is None else encode_event(body), last=True)
        else:
            await self.answer(refused.status, body, refused.headers)

    async def stream(self, data: bytes, *, last: bool = False, headers: HeaderList = ()) -> None:
        """Send a part of an event stream. The first part starts the stream."""
        self.sending = True
        if not self.started:
            self.started = True
            sent = [*_STREAM_HEADERS, (_REQUEST_ID_NAME, self.request_id.encode()), *headers]
            await self.send({"type": "http.response.start", "status": 200, "headers": sent})
        self.complete = last
        await self.send({"type": "http.response.body", "body": data, "more_body": not last})
        self.sending = False


class ClientWork:
    """Work for a client, canceled when the client disconnects."""

    is_running = False
    client_left = False
    leave_outcome = "cancelled"
    canceled_by_client = False
    """The client canceled the request. The server may still answer it."""

    def __init__(self) -> None:
        self.task = asyncio.current_task()

    def leave(self) -> None:
        """Cancel the work because the client disconnected."""
        self.client_left = True
        self._stop()

    def suspend(self) -> None:
        """Stop because the client left a stream that it can resume. The outcome is not known yet."""
        self.leave_outcome = "unknown"
        self.leave()

    def _stop(self) -> None:
        if self.is_running and self.task is not None:
            self.task.cancel()


class ClientWatch:
    """Detects that the client disconnects, and keeps a silent stream alive with comments.

    In the modern era, disconnecting cancels the call. In the legacy era it does not: the call continues, unless its
    client canceled it before. If the stream can be resumed, the upstream connection is closed, because the upstream
    stores the events.
    """

    streaming = False
    client_gone = False
    """The client disconnected, and the call continues."""
    resumable = False
    """The client can resume the stream."""
    _task: asyncio.Task[None] | None = None

    def __init__(self, exchange: Exchange, work: ClientWork, modern: bool) -> None:
        self._exchange = exchange
        self._work = work
        self._modern = modern

    def __enter__(self) -> Self:
        self._alarm = self._exchange.alarms.set(WATCH_AFTER, self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exchange.alarms.clear(self._alarm)
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        wait = FIRST_COMMENT
        while True:
            try:
                async with asyncio.timeout(wait):
                    event = await self._exchange.receive()
            except TimeoutError:
                wait = NEXT_COMMENT
                if self.streaming and not self._exchange.complete and not self._exchange.sending:
                    await self._exchange.stream(b": keep-alive\r\n\r\n")
                continue
            if event["type"] == "http.disconnect":
                # An HTTP server also reports a disconnect after the complete answer.
                if not self._exchange.complete:
                    if self._modern or self._work.canceled_by_client:
                        self._work.leave()
                    elif self.resumable:
                        self._work.suspend()
                    else:
                        self.client_gone = True
                return


def too_large(limit: int) -> Refused:
    """Return the answer to a body over the limit."""
    return Refused(413, -32600, f"The request body is over the limit of {limit} bytes.")


def error_body(id: str | int | None, code: int, message: str, data: Any = None) -> bytes:
    """Encode a JSON-RPC error response. ``id`` is null if the request's id could not be read."""
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return strict_json.dumps({"jsonrpc": "2.0", "id": id, "error": error})


def result_body(id: str | int | None, result: dict[str, Any]) -> bytes:
    """Encode a JSON-RPC result response."""
    write = strict_json.dumps if is_on_loop() else strict_json.dumps_in_pieces
    return write({"jsonrpc": "2.0", "id": id, "result": result})


def parse_address(text: str) -> Address | None:
    """Parse an IP address; ``None`` for anything else, such as a Unix socket's name."""
    return _address(text) if len(text) <= _CACHED_BYTES else None


@lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    # A dual-stack socket reports IPv4 addresses as mapped ones, which no IPv4 network contains.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=4096)
def client_at(host: str | None, agent: bytes | None) -> tuple[Address | None, Client]:
    """Return the client as known from the connection. Cached by texts, because hashing addresses is slow."""
    address = None if host is None else parse_address(host)
    return address, _client(address, agent)


def _client(address: Address | None, agent: bytes | None) -> Client:
    return Client(
        None if address is None else str(address), None if agent is None else agent.decode("latin-1")
    )


def behind_proxies(
    peer: Address | None, forwarded_for: bytes, proxies: tuple[Network, ...]
) -> Address | None:
    """Return the client's address: the rightmost in ``X-Forwarded-For`` that is not of a trusted proxy."""
    address = peer
    hops = forwarded_for.decode("latin-1").split(",") if forwarded_for else []
    while hops and address is not None and any(address in proxy for proxy in proxies):
        address = parse_address(hops.pop())
    return address


Result = TypeVar("Result")
DATABASE_BUDGET_S = 1.6
"""The time that one request may wait for the database in total."""
MIN_WAIT_S = 0.2
_SHORT_S = 0.1


class DatabaseBudgetExceeded(StoreUnavailable):
    """The request has waited too long for the database. The statement may still be executed."""


async def with_db_budget(exchange: Exchange, operation: Awaitable[Result]) -> Result:
    """Await a database operation within the request's budget. Raises ``DatabaseBudgetExceeded``.

    Concurrent operations of one request count once, for the time of the slowest.
    """
    now = monotonic()
    if not exchange.waits:
        exchange.waiting_since = now
    waited_s, budget = exchange.waited_s + now - exchange.waiting_since, None
    exchange.waits += 1
    try:
        if waited_s < _SHORT_S or exchange.started:
            # The usual case, which needs no timer. An answer that has started has no deadline.
            return await operation
        async with asyncio.timeout(max(MIN_WAIT_S, DATABASE_BUDGET_S - waited_s)) as budget:
            return await operation
    except TimeoutError:
        if budget is None or not budget.expired():
            raise
        raise DatabaseBudgetExceeded from None
    finally:
        exchange.waits -= 1
        if not exchange.waits:
            exchange.waited_s += monotonic() - exchange.waiting_since
