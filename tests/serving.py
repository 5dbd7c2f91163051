"""ASGI applications on real sockets, served by uvicorn without its pauses.

uvicorn looks every 0.1 s whether it should exit, and then waits 0.1 s for connections that close, even if there are
none. Most tests with a server take less time than that.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import uvicorn

_PATIENCE_S = 50.0
_PAUSE_S = 0.1


class _Server(uvicorn.Server):
    """Starts and exits as soon as it can."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready, self._exit = asyncio.Event(), asyncio.Event()

    def exit(self, *, force: bool) -> None:
        """Stop; with ``force`` without waiting for open connections."""
        self.should_exit, self.force_exit = True, force
        self._exit.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        # Each tick renews the date that answers have.
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._exit.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        state, loop = self.server_state, asyncio.get_running_loop()
        # First no more connections: asyncio leaks one that is accepted in the turn in which its server closes.
        for listening in (sock for server in self.servers for sock in server.sockets):
            loop.remove_reader(listening.fileno())
        await asyncio.sleep(0.001)
        for closing in (*self.servers, *(sockets or ())):
            closing.close()
        for connection in list(state.connections):
            connection.shutdown()
        pause = _PAUSE_S if self.force_exit else self.config.timeout_graceful_shutdown
        try:
            async with asyncio.timeout(pause):
                while state.connections or state.tasks:  # noqa: ASYNC110  uvicorn has no event for it
                    await asyncio.sleep(0.001)
                for server in self.servers:
                    await server.wait_closed()
        except TimeoutError:
            if not self.force_exit:
                for task in state.tasks:
                    task.cancel()
        if not self.force_exit:
            await self.lifespan.shutdown()


@contextmanager
def listener() -> Iterator[socket.socket]:
    """A listening loopback socket on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        # asyncio sets this only on sockets that name their protocol; without it each answer waits for an ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


@asynccontextmanager
async def served(
    config: uvicorn.Config, sock: socket.socket, *, force: bool = True
) -> AsyncIterator[uvicorn.Server]:
    """Serve on a listening socket. At the end, ``force`` leaves connections and the lifespan of the application."""
    server = _Server(config)
    task = asyncio.create_task(server.serve([sock]))
    ready = asyncio.create_task(server.ready.wait())
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        assert server.started
        yield server
    finally:
        ready.cancel()
        server.exit(force=force)
        await task
