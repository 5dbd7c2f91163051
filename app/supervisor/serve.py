"""The process of the supervisor: its socket, its directories, and its shutdown."""

import asyncio
import os
import signal
import socket
import tempfile
from pathlib import Path
from types import FrameType

import uvicorn

from app.outbound.stdio.commands import AllowedCommands
from app.outbound.stdio.wire import SupervisorAddress
from app.supervisor.app import SupervisorApp
from app.supervisor.isolation import DataDirectories, Isolation
from app.supervisor.limits import Limits
from app.supervisor.processes import adopt_orphans, hide_from_equals
from app.supervisor.sessions import Sessions


def supervise(
    address: SupervisorAddress, allowed: AllowedCommands, limits: Limits, data: DataDirectories
) -> None:
    """Serve until SIGTERM, or until the guard dies; then end all commands."""
    hide_from_equals()
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="scopegate-homes-", ignore_cleanup_errors=True) as homes:
        if data.users is not None:
            # Programs enter it to reach their homes.
            Path(homes).chmod(0o711)
        isolation = Isolation(Path(homes), data, adopts=True)
        asyncio.run(_serve(address, Sessions(allowed, isolation, limits)))


async def _serve(address: SupervisorAddress, sessions: Sessions) -> None:
    with _listening(address.socket) as listener:
        # The loop of the standard library: its pipes and signals do not affect the children.
        config = uvicorn.Config(
            SupervisorApp(sessions, address),
            http="httptools",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)

        def stop(_number: int, _frame: FrameType | None) -> None:
            server.should_exit = True

        # uvicorn installs its own handlers and raises the signal again after its shutdown, before ours is complete.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        looking_after = asyncio.create_task(sessions.run())
        try:
            await server.serve(sockets=[listener])
        finally:
            looking_after.cancel()
            await sessions.aclose()


def _listening(path: str) -> socket.socket:
    """A socket that only our own user can reach, created atomically."""
    draft = Path(f"{path}.new")
    draft.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(draft))
    finally:
        os.umask(before)
    listener.listen(512)
    draft.rename(path)
    return listener
