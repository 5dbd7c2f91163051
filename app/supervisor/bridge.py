"""Several HTTP requests on one pipe: the routing of a program's messages to requests, and its limits.

Every request gets an ID of ours, and so do its progress token and its subscription, so that requests never get each
other's messages. Other messages of a program belong to no request on its pipe: they go to the newest open request or
to the session's own stream, all of which lead to the same client.

An ``Outlet`` has the messages for one HTTP request.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from app.lib import strict_json
from app.supervisor.isolation import ENDED, INTERNAL_ERROR, METHOD_NOT_FOUND, Limits, too_many


class Outlet:
    """Messages for one reader, in order. Calls ``full`` at the maximum, and ``free`` below it again."""

    def __init__(self, max_bytes: int, full: Callable[[], None], free: Callable[[], None]) -> None:
        self._max_bytes = max_bytes
        self._full = full
        self._free = free
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._is_full = False
        self.answered = False
        """Whether the last message is the response."""
        self.closed = False
        self.cancelled_at: float | None = None
        """The time at which the client cancelled its request."""

    def put(self, message: bytes, *, last: bool = False) -> None:
        """Add a message; none may follow the last."""
        if self.closed:
            return
        self._waiting.append(message)
        self._size += len(message)
        self.answered = last
        self.closed = last
        self._news.set()
        if self._size > self._max_bytes and not self._is_full:
            self._is_full = True
            self._full()

    def close(self) -> None:
        """Accept no more messages: the request ended without a response, or its reader disconnected."""
        self.closed = True
        self._news.set()
        self._drained()

    async def get(self, within: float | None) -> bytes | None:
        """Return the next message; ``None`` at the end. Raises ``TimeoutError``."""
        while not self._waiting:
            if self.closed:
                return None
            self._news.clear()
            async with asyncio.timeout(within):
                await self._news.wait()
        message = self._waiting.popleft()
        self._size -= len(message)
        if self._size <= self._max_bytes:
            self._drained()
        return message

    @property
    def is_last(self) -> bool:
        """Whether the last message from ``get`` is the response."""
        return self.answered and not self._waiting

    def _drained(self) -> None:
        if self._is_full:
            self._is_full = False
            self._free()


_MAX_OPEN = 1000
_MAX_PROGRAM_REQUESTS = 100
_MAX_PARKED = 64
_PARKED_SECONDS = 20.0
_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
_CANCELLED = "notifications/cancelled"

Message = dict[str, Any]


@dataclass(slots=True)
class _Open:
    """A request that the program processes."""

    id: str | int
    outlet: Outlet
    token: Any = None
    listens: bool = False


class Flood(Exception):
    """The program sends too many messages that belong to no request."""


class Bridge:
    """``write`` sends a line to the program; ``pause`` and ``resume`` throttle its output."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        pause: Callable[[], None],
        resume: Callable[[], None],
        limits: Limits,
        *,
        modern: bool,
    ) -> None:
        self._write = write
        self._pause = pause
        self._resume = resume
        self._limits = limits
        self._modern = modern
        self._last = 0
        self._open: dict[int, _Open] = {}
        self._program_requests: set[tuple[type, str | int]] = set()
        self._parked: deque[tuple[float, Message]] = deque()
        self._stream: Outlet | None = None
        self._stray = 0
        self._stray_since = monotonic()
        self._full: set[int] = set()
        self.over = False

    @property
    def busy(self) -> bool:
        """Whether a client waits for the program; requests of disconnected clients do not count."""
        return self._stream is not None or any(not opened.outlet.closed for opened in self._open.values())

    # ---- messages of the client

    def ask(self, message: Message) -> Outlet:
        """Send a request; the response and related messages arrive in the outlet. Raises ``Refused``."""
        if len(self._open) >= _MAX_OPEN:
            raise too_many("This session", "requests without an answer")
        self._last += 1
        id, outlet = self._last, self._outlet()
        if self.over:
            self._put(outlet, _end_error(message["id"]), last=True)
            return outlet
        listens = message["method"] == "subscriptions/listen"
        opened = self._open[id] = _Open(message["id"], outlet, listens=listens)
        sent = {**message, "id": id}
        params = message.get("params")
        meta = params.get("_meta") if isinstance(params, dict) else None
        if isinstance(params, dict) and isinstance(meta, dict) and "progressToken" in meta:
            opened.token = meta["progressToken"]
            sent["params"] = {**params, "_meta": {**meta, "progressToken": id}}
        self._write(strict_json.dumps(sent))
        self._unpark(outlet)
        return outlet

    def notify(self, message: Message) -> None:
        """Send a notification of the client, with the ids that the program knows."""
        if message.get("method") != _CANCELLED:
            self._write(strict_json.dumps(message))
            return
        params = message.get("params")
        named = params.get("requestId") if isinstance(params, dict) else None
        for id, opened in self._open.items():
            if type(opened.id) is type(named) and opened.id == named:
                self._write(strict_json.dumps({**message, "params": {**message["params"], "requestId": id}}))
                opened.outlet.cancelled_at = opened.outlet.cancelled_at or monotonic()
                return

    def respond(self, message: Message) -> bool:
        """Send a response of the client; False if no request matches it."""
        key = (type(message.get("id")), message.get("id"))
        if key not in self._program_requests:
            return False
        self._program_requests.discard(key)
        self._write(strict_json.dumps(message))
        return True

    def listen(self) -> Outlet | None:
        """Open the session's own stream; ``None`` if there is one."""
        if self._stream is not None:
            return None
        self._stream = self._outlet()
        self._unpark(self._stream)
        return self._stream

    def leave(self, outlet: Outlet, *, cancel: bool) -> None:
        """Close the outlet of a reader that disconnected or is done. ``cancel`` cancels the request at the program."""
        outlet.close()
        if outlet is self._stream:
            self._stream = None
        for id, opened in list(self._open.items()):
            if opened.outlet is outlet and cancel:
                del self._open[id]
                params: strict_json.JsonObject = {"requestId": id, "reason": "The client left."}
                self._write(strict_json.dumps({"jsonrpc": "2.0", "method": _CANCELLED, "params": params}))

    def give_up(self, outlet: Outlet) -> None:
        """Stop waiting for the response to a cancelled request."""
        for id, opened in list(self._open.items()):
            if opened.outlet is outlet:
                del self._open[id]
        outlet.close()

    # ---- messages of the program

    def received(self, line: bytes) -> None:
        """Process one line of output. Raises ``Flood``."""
        try:
            message = strict_json.loads(line)
        except strict_json.StrictJsonError:
            message = None
        if isinstance(message, dict) and message.get("jsonrpc") == "2.0" and self._handle(message):
            return
        now = monotonic()
        if now - self._stray_since > self._limits.stray_lines_window_s:
            self._stray, self._stray_since = 0, now
        self._stray += 1
        if self._stray > self._limits.stray_lines:
            raise Flood

    def _handle(self, message: Message) -> bool:
        method = message.get("method")
        if method is None:
            return self._handle_response(message)
        if not isinstance(method, str):
            return False
        if "id" in message:
            return self._handle_request(message)
        return self._handle_notification(message)

    def _handle_response(self, message: Message) -> bool:
        id = message.get("id")
        opened = self._open.pop(id, None) if type(id) is int else None
        if opened is None:
            return False
        result = message.get("result")
        if opened.listens and isinstance(result, dict):
            _rename_subscription(result, id, opened.id)
        self._put(opened.outlet, {**message, "id": opened.id}, last=True)
        return True

    def _handle_request(self, message: Message) -> bool:
        id = message["id"]
        if isinstance(id, bool) or not isinstance(id, str | int):
            return False
        if message["method"] == "ping":
            self._write(strict_json.dumps({"jsonrpc": "2.0", "id": id, "result": {}}))
        elif self._modern or len(self._program_requests) >= _MAX_PROGRAM_REQUESTS:
            self._refuse(id)
        else:
            self._program_requests.add((type(id), id))
            self._route(message)
        # Endless requests of an idle program are a flood as well.
        return bool(self._open) and message["method"] != "ping"

    def _handle_notification(self, message: Message) -> bool:
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        if message["method"] == "notifications/progress":
            return self._handle_progress(message, params)
        if message["method"] == _CANCELLED:
            return self._handle_cancelled(message, params)
        meta = params.get("_meta")
        if isinstance(meta, dict) and _SUBSCRIPTION in meta:
            opened = self._find(meta[_SUBSCRIPTION])
            if opened is None:
                return False
            _rename_subscription(params, meta[_SUBSCRIPTION], opened.id)
            self._put(opened.outlet, message)
            return True
        return self._route(message)

    def _handle_progress(self, message: Message, params: Message) -> bool:
        opened = self._find(params.get("progressToken"))
        if opened is None or opened.token is None:
            return False
        self._put(opened.outlet, {**message, "params": {**params, "progressToken": opened.token}})
        return True

    def _handle_cancelled(self, message: Message, params: Message) -> bool:
        """The program cancels its own request, or ends a subscription."""
        id = params.get("requestId")
        if isinstance(id, str | int) and (type(id), id) in self._program_requests:
            self._program_requests.discard((type(id), id))
            return self._route(message)
        opened = self._find(id)
        if opened is None or not opened.listens:
            return False
        self._put(opened.outlet, {**message, "params": {**params, "requestId": opened.id}})
        self.give_up(opened.outlet)
        return True

    def _find(self, id: Any) -> _Open | None:
        return self._open.get(id) if type(id) is int else None

    def _route(self, message: Message) -> bool:
        """Send a message to an open request or stream; without one it is kept for a while."""
        outlets = [one.outlet for one in self._open.values() if not one.listens and not one.outlet.closed]
        if outlets:
            self._put(outlets[-1], message)
            return True
        if self._stream is not None:
            self._put(self._stream, message)
            return True
        if not self._modern:
            self._parked.append((monotonic(), message))
            if len(self._parked) > _MAX_PARKED:
                self._drop(self._parked.popleft()[1])
        return False

    def _unpark(self, outlet: Outlet) -> None:
        while self._parked:
            self._put(outlet, self._parked.popleft()[1])

    def expire(self) -> None:
        """Drop messages and requests that have expired."""
        now = monotonic()
        while self._parked and now - self._parked[0][0] > _PARKED_SECONDS:
            self._drop(self._parked.popleft()[1])
        for opened in list(self._open.values()):
            at = opened.outlet.cancelled_at
            if at is not None and now - at > self._limits.cancelled:
                self.give_up(opened.outlet)

    def _drop(self, message: Message) -> None:
        id = message.get("id")
        if isinstance(id, str | int) and (type(id), id) in self._program_requests:
            self._program_requests.discard((type(id), id))
            self._refuse(id)

    def _refuse(self, id: str | int) -> None:
        error: strict_json.JsonObject = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
        self._write(strict_json.dumps({"jsonrpc": "2.0", "id": id, "error": error}))

    def end(self) -> None:
        """Answer all open requests after the end of the program."""
        self.over = True
        for opened in self._open.values():
            self._put(opened.outlet, _end_error(opened.id), last=True)
        self._open.clear()
        if self._stream is not None:
            self._stream.close()

    # ---- outlets

    def _outlet(self) -> Outlet:
        outlet = Outlet(
            self._limits.unread_output, lambda: self._pause_for(outlet), lambda: self._resume_for(outlet)
        )
        return outlet

    def _pause_for(self, outlet: Outlet) -> None:
        self._full.add(id(outlet))
        self._pause()

    def _resume_for(self, outlet: Outlet) -> None:
        self._full.discard(id(outlet))
        if not self._full:
            self._resume()

    def _put(self, outlet: Outlet, message: Message, *, last: bool = False) -> None:
        outlet.put(strict_json.dumps(message), last=last)


def _end_error(id: str | int) -> Message:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": INTERNAL_ERROR, "message": ENDED}}


def _rename_subscription(holder: Message, ours: Any, theirs: str | int) -> None:
    meta = holder.get("_meta")
    if isinstance(meta, dict) and meta.get(_SUBSCRIPTION) == ours:
        holder["_meta"] = {**meta, _SUBSCRIPTION: theirs}
