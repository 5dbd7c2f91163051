"""Proxies with faults: one to the database for each gateway, and one to the upstream."""

import asyncio
import struct
from collections.abc import Iterator
from pathlib import Path

from tests.faults.database_proxy import DatabaseProxy, Proxy
from tests.ports import free_port

_LENGTH = struct.Struct("!I")
# Startup, SSL and cancel requests have no type; no message of a client that we run is longer than this at first.
_COMMIT = b"COMMIT"
_PROCESS = struct.Struct("!i")
THROTTLED_S = 0.05
"""How long each piece of a throttled way takes."""


class Frames:
    """The messages of one direction of PostgreSQL's protocol (version 3), read along as they pass."""

    def __init__(self, *, typed: bool) -> None:
        """``typed`` is whether the first message has a type; a client's first one has none."""
        self._typed = typed
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Type and payload of each message that is complete now; the startup message has the type ``b""``."""
        self._buffer += data
        while True:
            head = 5 if self._typed else 4
            if len(self._buffer) < head:
                return
            # The length counts itself and not the type.
            end = head - 4 + _LENGTH.unpack_from(self._buffer, head - 4)[0]
            if len(self._buffer) < end:
                return
            yield self._buffer[: head - 4], self._buffer[head:end]
            self._buffer, self._typed = self._buffer[end:], True


class _Link:
    """One connection: whether its client waits for what a commit came to, and never hears it."""

    def __init__(
        self, way: "DatabaseWay", writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    ) -> None:
        self._way = way
        self._writers = writers
        self._asked, self._answered = Frames(typed=False), Frames(typed=True)
        self._in_transaction = self._executes = self._lost = False
        self.backend: int | None = None
        """The process id of the server's end, once it has said so."""

    async def asks(self, data: bytes) -> bool:
        """What the client sends always arrives."""
        for type, payload in self._asked.feed(data):
            self._executes = self._executes or type == b"E"
            commits = type == b"Q" and payload[: len(_COMMIT)].upper() == _COMMIT
            alone = type == b"S" and self._executes and not self._in_transaction
            if type == b"S":
                self._executes = False
            if self._way.swallowing and (commits or alone):
                self._lost = True
                self._way.swallowed += 1
        await self._way.pass_slowly()
        return True

    async def tells(self, data: bytes) -> bool:
        """What the server answers to a commit does not, and half of these connections break off then."""
        lost = self._lost
        for type, payload in self._answered.feed(data):
            if type == b"K":
                [self.backend] = _PROCESS.unpack_from(payload)
                self._way.backends.add(self.backend)
            if type == b"Z":
                self._in_transaction = payload != b"I"
                if self._lost and self._way.swallowed % 2:
                    for writer in self._writers:
                        writer.transport.abort()
        await self._way.pass_slowly()
        return not lost


class DatabaseWay(DatabaseProxy):
    """As its parent, and it can be slow, and swallow the answers to commits."""

    def __init__(self, real_url: str, place: Path) -> None:
        super().__init__(real_url, place)
        self.delay_s = 0.0
        self.swallowing = False
        self.swallowed = 0
        """How many answers to commits were lost so far."""
        self.backends: set[int] = set()
        """The process ids of the server's ends of its connections."""

    async def pass_slowly(self) -> None:
        """Wait as long as a piece takes now."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        their_reader: asyncio.StreamReader,
        their_writer: asyncio.StreamWriter,
    ) -> None:
        link = _Link(self, (writer, their_writer))
        await asyncio.gather(
            self._pump(reader, their_writer, link.asks), self._pump(their_reader, writer, link.tells)
        )
        self.backends.discard(link.backend or 0)


class UpstreamWay(Proxy):
    """A port that leads to another one of this machine."""

    def __init__(self, real_port: int) -> None:
        super().__init__()
        self._real_port = real_port
        # Keep the port reserved while it refuses.
        self._port = free_port()
        self.delay_s = 0.0

    @property
    def url(self) -> str:
        """The MCP endpoint, through the proxy."""
        return f"http://127.0.0.1:{self._port}/mcp"

    async def _listening(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._real_port)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        their_reader: asyncio.StreamReader,
        their_writer: asyncio.StreamWriter,
    ) -> None:
        async def passes(_data: bytes) -> bool:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            return True

        await asyncio.gather(
            self._pump(reader, their_writer, passes), self._pump(their_reader, writer, passes)
        )
