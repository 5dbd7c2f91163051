"""A proxy for PostgreSQL, or any other server, that can inject faults."""

import asyncio
import contextlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

_SOCKET = ".s.PGSQL.5432"
_PORT = 5432
Passes = Callable[[bytes], Awaitable[bool]]


class Fault(StrEnum):
    """What is wrong with the way. Connections that a fault has met never work again, but for ``HOLD``."""

    HOLD = "hold"
    """Bytes wait and arrive when the fault is over."""
    BLACKHOLE = "blackhole"
    """Bytes are dropped silently."""
    RESET = "reset"
    """Connections are cut, new ones as soon as they are made."""
    REFUSE = "refuse"
    """Connections are closed, and new ones are refused."""


class Proxy(ABC):
    """Forwards connections, with faults on request. Subclasses define the endpoints."""

    def __init__(self) -> None:
        self._fault: Fault | None = None
        self._clear = asyncio.Event()
        self._clear.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def _listening(self) -> asyncio.Server:
        """A server that hands connections to ``_serve``, at the same address each time."""

    @abstractmethod
    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the other end. Raises ``OSError``."""

    async def listen(self) -> None:
        """Begin to take connections."""
        self._server = await self._listening()

    async def close(self) -> None:
        """Stop listening and cut everything."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._clear.set()
        self._cut()
        await asyncio.gather(*self._serving)

    async def begin(self, fault: Fault) -> None:
        """Disturb from now on."""
        self._fault = fault
        if fault is Fault.HOLD:
            self._clear.clear()
        elif fault is Fault.REFUSE:
            await self.close()
        elif fault is Fault.RESET:
            self._cut()

    async def end(self) -> None:
        """Let everything through again."""
        fault, self._fault = self._fault, None
        self._clear.set()
        if fault is Fault.REFUSE:
            await self.listen()

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._fault is Fault.RESET:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self._writers.add(writer)
        try:
            their_reader, their_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        finally:
            self._writers.discard(writer)
        both = {writer, their_writer}
        self._writers |= both
        await self._forward(reader, writer, their_reader, their_writer)
        self._writers -= both

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        their_reader: asyncio.StreamReader,
        their_writer: asyncio.StreamWriter,
    ) -> None:
        """Carry bytes both ways until one side is gone."""
        await asyncio.gather(self._pump(reader, their_writer), self._pump(their_reader, writer))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Passes | None = None
    ) -> None:
        """Carry bytes one way until a side is gone; only what ``passes``, if that is asked."""
        swallowing = False
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                swallowing = swallowing or self._fault is Fault.BLACKHOLE
                if swallowing:
                    continue
                await self._clear.wait()
                if passes is not None and not await passes(data):
                    continue
                writer.write(data)
                await writer.drain()
        # One side is gone, so the other goes too.
        writer.transport.abort()


class DatabaseProxy(Proxy):
    """A socket of PostgreSQL's own name, in ``place``. ``url`` leads through the proxy."""

    def __init__(self, real_url: str, place: Path) -> None:
        super().__init__()
        parts = urlsplit(real_url)
        self._parts = parts
        self._path = place / _SOCKET
        user_part = parts.netloc.rpartition("@")[0]
        query = f"host={quote(str(place))}"
        self.url = urlunsplit(parts._replace(netloc=f"{user_part}@", query=query))

    async def _listening(self) -> asyncio.Server:
        # Remove the socket of an earlier server.
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, self._path)
        self._path.chmod(0o777)
        return server

    async def close(self) -> None:
        """Stop listening and cut everything."""
        await super().close()
        self._path.unlink(missing_ok=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        hosts = parse_qs(self._parts.query).get("host")
        if hosts is not None:
            return await asyncio.open_unix_connection(Path(hosts[0]) / _SOCKET)
        return await asyncio.open_connection(self._parts.hostname, self._parts.port or _PORT)


@asynccontextmanager
async def database_proxy(real_url: str) -> AsyncIterator[DatabaseProxy]:
    """A proxy in front of the database of ``real_url``, until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="sg-proxy-", dir="/tmp") as place:
        proxy = DatabaseProxy(real_url, Path(place))
        await proxy.listen()
        try:
            yield proxy
        finally:
            await proxy.close()
