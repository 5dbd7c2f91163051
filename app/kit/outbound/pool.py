"""The connections to one origin."""

import asyncio
import ssl
from collections import deque

from app.kit.outbound.connection import Connection
from app.kit.outbound.errors import UpstreamError
from app.kit.outbound.guard import AddressPolicy, IPAddress, Origin
from app.kit.outbound.limits import Limits


class Pool:
    """Hands out clean connections, newest first, and makes new ones up to the limit."""

    def __init__(
        self, origin: Origin, policy: AddressPolicy, limits: Limits, tls: ssl.SSLContext | None
    ) -> None:
        self._origin = origin
        self._policy = policy
        self._limits = limits
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._all: set[Connection] = set()
        self._resting: dict[Connection, None] = {}
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._size = 0  # open connections and those being opened
        self._closed = False

    @property
    def empty(self) -> bool:
        """True when nothing is open, being opened or waited for."""
        return self._size == 0

    def take(self) -> Connection | None:
        """A connection that can be written to right now, or None."""
        now = self._loop.time()
        while self._resting:
            connection, _ = self._resting.popitem()
            if connection.usable(now):
                return connection
            connection.abort()
        return None

    async def acquire(self, within: float) -> Connection:
        """A connection, new if need be. Raises ``UpstreamError`` with nothing sent, and ``ForbiddenUrl``.

        ``within`` (seconds) holds for the wait for a free place and again for connecting.
        """
        while True:
            connection = self.take()
            if connection is not None:
                return connection
            if self._size < self._limits.connections_per_origin:
                self._size += 1
            else:
                connection = await self._wait(within)
                if connection is not None:
                    if connection.usable(self._loop.time()):
                        return connection
                    connection.abort()
                    continue
            try:
                return await self._connect(within)
            except BaseException:
                self._free_place()
                raise

    def release(self, connection: Connection) -> None:
        """Take back a clean connection."""
        connection.rested_since = self._loop.time()
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
        else:
            self._resting[connection] = None

    def retire(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        if connection in self._all:
            self._all.discard(connection)
            self._resting.pop(connection, None)
            self._free_place()

    def sweep(self, now: float) -> None:
        """Fail what is out of time and close what rested too long."""
        for connection in list(self._all):
            if connection in self._resting:
                if now - connection.rested_since >= self._limits.idle_connection:
                    connection.abort()
            else:
                connection.check_time(now)

    def close(self) -> None:
        """Abort everything."""
        self._closed = True
        while (waiter := self._next_waiter()) is not None:
            waiter.set_exception(UpstreamError("closed", "the client was closed", may_have_been_sent=False))
        for connection in list(self._all):
            connection.abort()

    def _next_waiter(self) -> "asyncio.Future[Connection | None] | None":
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    async def _wait(self, within: float) -> Connection | None:
        """A connection that somebody released, or None for the right to open one."""
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(within):
                return await waiter
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # It was served in the very moment in which we gave up.
                served = waiter.result()
                if served is None:
                    self._free_place()
                elif not served.closed:
                    self.release(served)
            if isinstance(error, TimeoutError):
                raise UpstreamError(
                    "busy", "all connections to the upstream are in use", may_have_been_sent=False
                ) from None
            raise

    def _free_place(self) -> None:
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)
        else:
            self._size -= 1

    async def _connect(self, within: float) -> Connection:
        """Resolve once, then connect to a checked address and no other."""
        try:
            async with asyncio.timeout(within):
                addresses = await self._policy.resolve(self._origin)
        except TimeoutError:
            raise UpstreamError(
                "resolve", "the host name was not resolved in time", may_have_been_sent=False
            ) from None
        failure = UpstreamError("connect", "the upstream cannot be reached", may_have_been_sent=False)
        deadline = self._loop.time() + within
        for index, address in enumerate(addresses):
            # A dead first address must not use up the time of the others.
            share = (deadline - self._loop.time()) / (len(addresses) - index)
            try:
                async with asyncio.timeout(share):
                    return await self._connect_to(address)
            except ssl.SSLError:
                failure = UpstreamError("tls", "the TLS handshake failed", may_have_been_sent=False)
            except (OSError, TimeoutError):
                continue
        raise failure

    async def _connect_to(self, address: IPAddress) -> Connection:
        connection = Connection(self, self._limits, self._loop)
        try:
            await self._loop.create_connection(
                lambda: connection,
                str(address),
                self._origin.port,
                ssl=self._tls,
                server_hostname=self._origin.host if self._tls else None,
            )
        except BaseException:
            connection.abort()
            raise
        if connection.closed:
            raise ConnectionResetError
        if self._closed:
            connection.abort()
            raise UpstreamError("closed", "the client was closed", may_have_been_sent=False)
        connection.rested_since = self._loop.time()
        self._all.add(connection)
        return connection
