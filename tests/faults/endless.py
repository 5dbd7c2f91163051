"""Endless streams: an upstream whose answers never end, and every kind of client stream."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from time import time
from typing import Any, cast
from uuid import uuid4

from tests.faults.upstream import HEAD_END, PIECE, SLOW, STREAM_HEAD, accepted, content_length
from tests.faults.wire import BROKEN, VERSION, Connection, Way

SILENT = "silent"
LEGACY = "2025-06-18"
KINDS = ("streaming call", "silent call", "legacy listen", "listen", "listen on all servers")
_TIMEOUT_S = 30.0
_SESSION = b"mcp-session-id: endless\r\n"


class Endless:
    """An MCP server that never finishes. ``legs`` are the times of day at which its streams were cut."""

    def __init__(self) -> None:
        self.url = ""
        self.legs: list[asyncio.Future[float]] = []
        self.news = asyncio.Condition()
        self.connections: set[_Connection] = set()

    async def opened(self, count: int) -> list[asyncio.Future[float]]:
        """Wait until so many streams were opened. Raises ``TimeoutError``."""
        async with asyncio.timeout(_TIMEOUT_S), self.news:
            await self.news.wait_for(lambda: len(self.legs) >= count)
        assert len(self.legs) == count
        return self.legs


@asynccontextmanager
async def endless() -> AsyncIterator[Endless]:
    """Serve until the end of the block."""
    mine = Endless()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(mine), "127.0.0.1", 0)
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

    def __init__(self, owner: Endless) -> None:
        self._owner = owner
        self._buffer = b""
        self._leg: asyncio.Future[float] | None = None
        self._telling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._owner.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.connections.discard(self)
        if self._leg is not None:
            self._leg.set_result(time())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while HEAD_END in self._buffer:
            head, _, rest = self._buffer.partition(HEAD_END)
            length = content_length(head)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._take(head.split(b" ", 1)[0], json.loads(rest[:length]) if length else {})

    def _take(self, http_method: bytes, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if http_method == b"GET":
            self._begin(b"")
        elif method == "subscriptions/listen":
            self._begin(_event("notifications/subscriptions/acknowledged", notifications={}))
        elif method == "tools/call":
            token = params["_meta"]["progressToken"]
            first = _event("notifications/progress", progressToken=token, progress=0)
            self._begin(None if params["name"] == SILENT else first)
        elif "id" in message:
            result: dict[str, Any] = {}
            if method == "initialize":
                info = {"name": "endless", "version": "1"}
                result = {"protocolVersion": LEGACY, "capabilities": {"resources": {}}, "serverInfo": info}
            self._reply(200, json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode())
        else:
            self._reply(202, b"")

    def _begin(self, first: bytes | None) -> None:
        """Without a first event not even a status is said."""
        self._leg = asyncio.get_running_loop().create_future()
        self._owner.legs.append(self._leg)
        if first is not None:
            self.transport.write(STREAM_HEAD + (PIECE % (len(first), first) if first else b""))
        self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        async with self._owner.news:
            self._owner.news.notify_all()

    def _reply(self, status: int, body: bytes) -> None:
        head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
        self.transport.write(head % (status, _SESSION, len(body)) + body)


def _event(method: str, **params: object) -> bytes:
    message = {"jsonrpc": "2.0", "method": method, "params": params}
    return b"event: message\r\ndata: " + json.dumps(message).encode() + b"\r\n\r\n"


@dataclass(slots=True)
class Stream:
    """A client's stream that is open."""

    kind: str
    connection: Connection
    unsent: bytes
    """The request of one that has no answer, not even a head, before its end."""
    _ended: asyncio.Task[tuple[float, bytes]] = field(init=False)

    def __post_init__(self) -> None:
        self._ended = asyncio.create_task(self._read())

    @property
    def is_open(self) -> bool:
        """Whether it has not ended yet."""
        return not self._ended.done()

    async def ended(self) -> tuple[float, bytes]:
        """The time of day of its end, and what came before it."""
        return await asyncio.shield(self._ended)

    def close(self) -> None:
        """Leave it."""
        self._ended.cancel()
        self.connection.close()

    async def _read(self) -> tuple[float, bytes]:
        rest = b""
        with suppress(*BROKEN):
            if self.unsent:
                answer = await self.connection.exchange(self.unsent)
                return time(), answer.body
            while piece := await self.connection.chunk():
                rest += piece
        return time(), rest


async def every_kind(port: int, way: Way) -> list[Stream]:
    """Open one stream of each of ``KINDS``; behind each is one of the upstream's, and behind nothing is more."""
    return [await _open(port, kind, way) for kind in KINDS]


async def _open(port: int, kind: str, way: Way) -> Stream:
    connection, wire = await Connection.open(port), _wire(kind, way)
    if kind == "silent call":
        return Stream(kind, connection, wire)
    connection.send(wire)
    status, _ = await connection.head()
    assert status == 200, kind
    if kind != "legacy listen":
        assert b"notifications/" in await connection.chunk(), kind
    return Stream(kind, connection, b"")


def _wire(kind: str, way: Way) -> bytes:
    if kind == "streaming call":
        return way.call(SLOW, uuid4().hex)
    if kind == "silent call":
        return way.call(SILENT, uuid4().hex)
    path = f"/mcp/{way.slug}"
    if kind == "legacy listen":
        return _head("GET", path, way, f"MCP-Protocol-Version: {LEGACY}\r\n", 0)
    wanted: dict[str, Any] = {"toolsListChanged": True}
    if kind == "listen on all servers":
        path, wanted["resourceSubscriptions"] = "/mcp", [f"mcp+{way.slug}+file:///endless"]
    meta = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"notifications": wanted, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}
    body = json.dumps(message).encode()
    own = f"MCP-Protocol-Version: {VERSION}\r\nMcp-Method: subscriptions/listen\r\n"
    return _head("POST", path, way, own, len(body)) + body


def _head(method: str, path: str, way: Way, own: str, length: int) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {way.secret}\r\n"
        f"Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n{own}"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


@contextmanager
def closing_all(streams: list[Stream]) -> Iterator[list[Stream]]:
    """Leave what is open at the end of the block."""
    try:
        yield streams
    finally:
        for stream in streams:
            stream.close()
