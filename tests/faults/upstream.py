"""An MCP server that writes down every call it receives, at the instant it receives it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from time import monotonic
from typing import Any, cast

ECHO, SLOW = "echo", "slow"
HEAD_END = b"\r\n\r\n"
_DEADLINE_S = 30.0
PIECE = b"%x\r\n%b\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


class Upstream:
    """What was received and what became of it. Times are of CLOCK_MONOTONIC, in seconds.

    ``echo`` answers within ``delay`` seconds; ``slow`` begins an event stream and never ends it.
    """

    def __init__(self, delay: float) -> None:
        self.url = ""
        self.delay = delay
        self.received: dict[str, float] = {}
        self.answering: set[str] = set()
        """Calls that were received and not answered yet."""
        self.streams_ended: dict[str, asyncio.Future[float]] = {}
        """When the connection of a ``slow`` call was closed from the other side."""
        self.random = Random(2)
        self.connections: set[_Connection] = set()
        self._watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for the first arrival of a call at which something holds. Raises ``TimeoutError``."""
        arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.append((holds, arrival))
        async with asyncio.timeout(_DEADLINE_S):
            await arrival

    def arrived(self, call: str) -> None:
        """Write a call down."""
        self.received[call] = monotonic()
        self.answering.add(call)
        for watcher in [watcher for watcher in self._watchers if watcher[0]()]:
            self._watchers.remove(watcher)
            watcher[1].set_result(None)


async def accepted() -> None:
    """Have the connections that the loop has just accepted reach their protocols, so that they can be closed."""
    for _ in range(3):
        await asyncio.sleep(0)


@asynccontextmanager
async def upstream(delay: float = 0.002) -> AsyncIterator[Upstream]:
    """Serve until the end of the block."""
    loop = asyncio.get_running_loop()
    mine = Upstream(delay)
    server = await loop.create_server(lambda: _Connection(mine), "127.0.0.1", 0)
    mine.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    try:
        yield mine
    finally:
        server.close()
        await accepted()
        for connection in list(mine.connections):
            connection.transport.abort()
        await server.wait_closed()


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, owner: Upstream) -> None:
        self._owner = owner
        self._buffer = b""
        self._streaming: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._owner.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.connections.discard(self)
        if self._streaming is not None:
            self._owner.streams_ended[self._streaming].set_result(monotonic())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while HEAD_END in self._buffer:
            head, _, rest = self._buffer.partition(HEAD_END)
            length = content_length(head)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._answer(json.loads(rest[:length]))

    def _answer(self, message: dict[str, Any]) -> None:
        owner, params = self._owner, message["params"]
        call = params["arguments"]["call"]
        if call in owner.received:
            raise AssertionError(f"{call} was sent twice")
        owner.arrived(call)
        if params["name"] == SLOW:
            self._begin_stream(call, params["_meta"])
            return
        asyncio.get_running_loop().call_later(
            owner.random.random() * owner.delay, self._echo, message["id"], call
        )

    def _echo(self, id: object, call: str) -> None:
        self._owner.answering.discard(call)
        result = {"content": [{"type": "text", "text": call}], "resultType": "complete"}
        body = json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        if not self.transport.is_closing():
            self.transport.write(head + body)

    def _begin_stream(self, call: str, meta: dict[str, Any]) -> None:
        self._streaming = call
        self._owner.streams_ended[call] = asyncio.get_running_loop().create_future()
        params = {"progressToken": meta["progressToken"], "progress": 0, "total": 1}
        message = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        event = b"event: message\r\ndata: " + json.dumps(message).encode() + b"\r\n\r\n"
        self.transport.write(STREAM_HEAD + PIECE % (len(event), event))


def content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return 0
