"""A supervisor in the test's own process, and a worker's way to it."""

import asyncio
import contextlib
import json
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import uvicorn

from app.cli.children import Child
from app.lib import strict_json
from app.outbound.http import AddressPolicy, OutboundClient, OutboundResponse, Timeouts
from app.outbound.mcp.connection import LegacySession, ModernConnection
from app.outbound.stdio import AllowedCommand, AllowedCommands, Holder, Launch, SupervisorAddress
from app.supervisor.app import SupervisorApp
from app.supervisor.isolation import DataDirectories, Isolation, Limits
from app.supervisor.sessions import Sessions
from tests.serving import served

PLAIN = str(Path(__file__).with_name("plain_server.py"))
PYTHON = "/usr/bin/python3"
LEGACY, MODERN = "2025-11-25", "2026-07-28"


def alive(pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return fields[0] not in {b"Z", b"X"}


def parent(pid: int) -> int:
    """Whose child a process is."""
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def user(pid: int) -> int:
    """Whom it runs as."""
    return Path(f"/proc/{pid}").stat().st_uid


def owner(path: Path) -> int:
    """Whose file this is."""
    return path.stat().st_uid


async def until(done: Callable[[], Any], within: float = 30.0) -> None:
    """Poll for events without a notification by the kernel."""
    async with asyncio.timeout(within):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass
class Worker:
    """One worker process of the gateway, with one token."""

    outbound: OutboundClient
    address: SupervisorAddress
    launch: Launch
    holder: Holder = field(default_factory=lambda: Holder(uuid4(), uuid4(), uuid4()))

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return self.address.headers(self.launch, self.holder)

    def target(self) -> Any:
        return self.address.target(self.launch.server_id)

    async def legacy(self) -> LegacySession:
        """A session as ``/mcp`` opens one."""
        return await LegacySession.open(
            self.outbound, self.target(), self.headers, timeouts=Timeouts(first_byte=60)
        )

    def modern(self) -> ModernConnection:
        """A connection as ``/mcp`` opens one."""
        return ModernConnection(self.outbound, self.target(), self.headers)

    async def send(
        self, method: str, message: Any = None, session: str | None = None, version: str = LEGACY
    ) -> OutboundResponse:
        """One plain request."""
        headers = [*self.headers, (b"mcp-protocol-version", version.encode())]
        if session is not None:
            headers.append((b"mcp-session-id", session.encode()))
        body = b"" if message is None else strict_json.dumps(message)
        return await self.outbound.request(method, self.target(), headers, body)

    async def tell(self, path: bytes, body: Any) -> Any:
        """What is not MCP."""
        target = self.address.target(self.launch.server_id, path)
        response = await self.outbound.request("POST", target, self.headers, strict_json.dumps(body))
        return strict_json.loads(await response.read())


async def call(connection: LegacySession | ModernConnection, tool: str, **arguments: Any) -> str:
    """The text that a tool answers."""
    result: Any = await connection.request("tools/call", {"name": tool, "arguments": arguments})
    return str(result["content"][0]["text"])


@dataclass
class World:
    """A running supervisor."""

    sessions: Sessions
    outbound: OutboundClient
    address: SupervisorAddress
    server: uvicorn.Server

    def hang_up(self) -> None:
        """Close the connections that workers keep: over these they would reach it without its socket."""
        for connection in list(self.server.server_state.connections):
            connection.transport.close()

    async def forget(self, worker: Worker) -> None:
        """Say that the server of a worker was deleted, as a worker says it."""
        await worker.tell(b"/forget", [worker.launch.server_id.hex])

    def worker(self, *args: str, variables: dict[str, str] | None = None, **changes: Any) -> Worker:
        """A worker with a token of its own, for a server of its own."""
        launch = Launch(uuid4(), PYTHON, (PLAIN, *args), tuple((variables or {}).items()))
        return Worker(self.outbound, self.address, launch, **changes)

    def sibling(self, other: Worker, **changes: UUID) -> Worker:
        """A worker for the same server, of another token by default."""
        parts = {"token_id": uuid4(), "identity_id": uuid4(), "worker_id": uuid4(), **changes}
        return Worker(self.outbound, self.address, other.launch, Holder(**parts))


@contextmanager
def passable_directory() -> Iterator[Path]:
    """A directory that other users may pass through, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


ALLOWED = AllowedCommands((AllowedCommand((PYTHON, PLAIN, "*"), frozenset({"API_KEY"})),))


@asynccontextmanager
async def supervising(
    path: Path,
    users: range | None = None,
    allowed: AllowedCommands = ALLOWED,
    data: Path | None = None,
    **limits: Any,
) -> AsyncIterator[World]:
    """Run a supervisor in this process, with ends that come fast. ``data``: where data directories are kept."""
    homes = path / "homes"
    homes.mkdir()
    isolation = Isolation(homes, DataDirectories(data or path / "data", users))
    sessions = Sessions(allowed, isolation, Limits(**{"grace": 0.2, **limits}))
    address = SupervisorAddress(str(path / "socket"), "s3cret")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address.socket)
    listener.listen()
    app = SupervisorApp(sessions, address, stream_after=0.3)
    config = uvicorn.Config(app, loop="asyncio", lifespan="off", ws="none", log_level="error")
    looking_after = asyncio.create_task(sessions.run())
    try:
        async with served(config, listener) as server:
            try:
                async with OutboundClient(AddressPolicy()) as outbound:
                    yield World(sessions, outbound, address, server)
            finally:
                looking_after.cancel()
                await sessions.aclose()
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await looking_after
        assert not any(homes.iterdir()), "every home is removed"


AS_US = """
import sys
from app.supervisor.guard import guard
code = "import os; os.geteuid = lambda: 1; from app.supervisor.app import main; main()"
guard([sys.executable, "-c", code])
"""
"""The setup without root, regardless of the user that runs the tests."""


@asynccontextmanager
async def guarded(path: Path, *, as_us: bool = False) -> AsyncIterator[tuple[Child, Worker]]:
    """The guard and its supervisor as ``serve`` starts them."""
    address = SupervisorAddress(str(path / "socket"), "s3cret")
    environment = {
        **address.written(),
        "PATH": os.defpath,
        "SCOPEGATE_STDIO_ALLOWED_COMMANDS": json.dumps([f"{PYTHON} {PLAIN} *"]),
        "SCOPEGATE_STDIO_DATA_DIR": str(path / "data"),
    }
    command = [sys.executable, *(["-c", AS_US] if as_us else ["-m", "app.supervisor.guard"])]
    guard = Child("the guard", command, environment=environment, grace_seconds=15)
    try:
        async with OutboundClient(AddressPolicy()) as outbound:
            await until(lambda: guard.exit_code is not None or Path(address.socket).exists(), 30)
            yield guard, Worker(outbound, address, Launch(uuid4(), PYTHON, (PLAIN,), ()))
    finally:
        await asyncio.to_thread(guard.stop)
