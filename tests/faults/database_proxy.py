"""A way to PostgreSQL that can be disturbed: a socket of PostgreSQL's own name that forwards to the real one."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

_SOCKET = ".s.PGSQL.5432"
_PORT = 5432


class Fault(StrEnum):
    """What is wrong with the way. Connections that a fault has met never work again, but for ``HOLD``."""

    HOLD = "hold"
    """Bytes wait and arrive when the fault is over."""
    BLACKHOLE = "blackhole"
    """Bytes vanish; nobody is told."""
    RESET = "reset"
    """Connections are cut, new ones as soon as they are made."""
    REFUSE = "refuse"
    """Connections are cut, and nobody listens."""


class DatabaseProxy:
    """``url`` leads through the proxy."""

    def __init__(self, real_url: str, place: Path) -> None:
        parts = urlsplit(real_url)
        self._parts = parts
        self._path = place / _SOCKET
        user_part = parts.netloc.rpartition("@")[0]
        query = f"host={quote(str(place))}"
        self.url = urlunsplit(parts._replace(netloc=f"{user_part}@", query=query))
        self._fault: Fault | None = None
        self._clear = asyncio.Event()
        self._clear.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Begin to take connections."""
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        self._path.chmod(0o777)

    async def close(self) -> None:
        """Stop listening and cut everything."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._path.unlink(missing_ok=True)
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

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        hosts = parse_qs(self._parts.query).get("host")
        if hosts is not None:
            return await asyncio.open_unix_connection(Path(hosts[0]) / _SOCKET)
        return await asyncio.open_connection(self._parts.hostname, self._parts.port or _PORT)

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
        await asyncio.gather(self._pump(reader, their_writer), self._pump(their_reader, writer))
        self._writers -= both

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        swallowing = False
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                swallowing = swallowing or self._fault is Fault.BLACKHOLE
                if swallowing:
                    continue
                await self._clear.wait()
                writer.write(data)
                await writer.drain()
        # One side is gone, so the other goes too.
        writer.transport.abort()


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
