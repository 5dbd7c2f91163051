"""A pool of connections to one origin."""

import asyncio
import ssl
from collections import OrderedDict, deque
from collections.abc import Awaitable

from app.lib.tcp import enable_keepalive
from app.outbound.http.connection import Connection, Limits
from app.outbound.http.guard import AddressPolicy, IPAddress, Origin, not_sent

_NO_CALLER = -1
_Waiter = asyncio.Future[Connection | None]


class Pool:
    """Provides clean connections, newest first, and opens new ones up to the limit.

    Each caller can use only a share of them, and waiting callers are served in turn, so that a caller with many
    requests does not delay others. ``None`` as the caller stands for the service's own requests.
    """

    def __init__(
        self, origin: Origin, policy: AddressPolicy, limits: Limits, tls: ssl.SSLContext | None
    ) -> None:
        self._origin = origin
        self._policy = policy
        self._limits = limits
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._all: set[Connection] = set()
        self._idle: dict[Connection, None] = {}
        # The waiters of each caller, in the order of their turns.
        self._waiting: OrderedDict[int | None, deque[_Waiter]] = OrderedDict()
        self._share = limits.connections_per_caller
        # The number of connections that each caller uses or is opening.
        self._used: dict[int, int] = {}
        self._size = 0  # open connections and those being opened
        self._resolving: asyncio.Task[list[IPAddress]] | None = None
        self._closed = False

    @property
    def empty(self) -> bool:
        """Whether nothing is open, being opened, resolved or waited for."""
        return self._size == 0 and self._resolving is None

    def take(self, caller: int | None = None) -> Connection | None:
        """An idle connection that can be used now, or ``None``."""
        if caller is not None:
            used = self._used.get(caller, 0)
            if used >= self._share:
                return None
        now = self._loop.time()
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable(now):
                if caller is not None:
                    self._used[caller] = used + 1
                    connection.caller = caller
                return connection
            connection.abort()
        return None

    async def acquire(self, within: float, caller: int | None = None) -> Connection:
        """An idle or new connection. Raises ``UpstreamError`` with nothing sent, and ``ForbiddenUrl``.

        ``within`` (seconds) limits the wait for a free slot, and separately the time to connect.
        """
        while True:
            connection = self.take(caller)
            if connection is not None:
                return connection
            if self._size < self._limits.connections_per_origin and self._may_use(caller):
                self._size += 1
                self._count(caller)
            else:
                connection = await self._wait(within, caller)
                if connection is not None:
                    if connection.usable(self._loop.time()):
                        return connection
                    connection.abort()
                    continue
            try:
                connection = await self._connect(within)
            except BaseException:
                self._discount(caller)
                self._release_slot()
                raise
            connection.caller = caller
            return connection

    def release(self, connection: Connection) -> None:
        """Take back a clean connection."""
        connection.idle_since = self._loop.time()
        caller = connection.caller
        if caller is not None:
            connection.caller = None
            self._discount(caller)
        if not self._waiting or not self._serve_next(connection):
            self._idle[connection] = None

    def retire(self, connection: Connection) -> None:
        """Remove a closed connection."""
        if connection in self._all:
            self._all.discard(connection)
            self._idle.pop(connection, None)
            self._discount(connection.caller)
            self._release_slot()

    def sweep(self, now: float) -> None:
        """Fail requests that timed out, and close connections that were idle too long."""
        for connection in list(self._all):
            if connection in self._idle:
                if now - connection.idle_since >= self._limits.idle_connection:
                    connection.abort()
            else:
                connection.check_time(now)

    def close(self) -> None:
        """Abort everything."""
        self._closed = True
        for waiters in self._waiting.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(not_sent("closed", "the client was closed"))
        self._waiting.clear()
        for connection in list(self._all):
            connection.abort()

    def _may_use(self, caller: int | None) -> bool:
        return caller is None or self._used.get(caller, 0) < self._share

    def _count(self, caller: int | None) -> None:
        if caller is not None:
            self._used[caller] = self._used.get(caller, 0) + 1

    def _discount(self, caller: int | None) -> None:
        if caller is not None:
            used = self._used[caller] - 1
            if used:
                self._used[caller] = used
            else:
                del self._used[caller]

    def _serve_next(self, connection: Connection | None) -> bool:
        """Give a connection, or the right to open one, to the next waiter. False if no waiter may use it."""
        while True:
            caller = next((caller for caller in self._waiting if self._may_use(caller)), _NO_CALLER)
            if caller == _NO_CALLER:
                return False
            waiters = self._waiting[caller]
            waiter = waiters.popleft()
            if waiters:
                self._waiting.move_to_end(caller)
            else:
                del self._waiting[caller]
            # Skip cancelled waiters; there can be thousands, since a cut ends all calls of a server at once.
            if not waiter.done():
                break
        self._count(caller)
        if connection is not None:
            connection.caller = caller
        waiter.set_result(connection)
        return True

    async def _wait(self, within: float, caller: int | None) -> Connection | None:
        """Wait for a released connection, or for the right to open one (``None``)."""
        waiter: _Waiter = self._loop.create_future()
        self._waiting.setdefault(caller, deque()).append(waiter)
        try:
            async with asyncio.timeout(within):
                return await waiter
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # It was served just before the timeout or cancellation.
                served = waiter.result()
                if served is None:
                    self._discount(caller)
                    self._release_slot()
                elif not served.closed:
                    self.release(served)
            elif (waiters := self._waiting.get(caller)) is not None and waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._waiting[caller]
            if isinstance(error, TimeoutError):
                raise not_sent("busy", "all connections to the upstream are in use") from None
            raise

    def _release_slot(self) -> None:
        if not self._waiting or not self._serve_next(None):
            self._size -= 1

    async def _connect(self, within: float) -> Connection:
        """Resolve the name once, then connect only to the checked addresses."""
        path = self._origin.socket
        if path is not None:
            connection = Connection(self, self._limits, self._loop)
            opening = self._loop.create_unix_connection(lambda: connection, path)
            try:
                async with asyncio.timeout(within):
                    return await self._finish_opening(connection, opening)
            except (OSError, TimeoutError):
                raise not_sent("connect", "the supervisor cannot be reached") from None
        addresses = await self._addresses(within)
        failure = not_sent("connect", "the upstream cannot be reached")
        deadline = self._loop.time() + within
        for index, address in enumerate(addresses):
            # Each address gets a share of the time, so that a dead one leaves time for the others.
            share = (deadline - self._loop.time()) / (len(addresses) - index)
            try:
                async with asyncio.timeout(share):
                    return await self._connect_to(address)
            except ssl.SSLError:
                failure = not_sent("tls", "the TLS handshake failed")
            except (OSError, TimeoutError):
                continue
        raise failure

    async def _addresses(self, within: float) -> list[IPAddress]:
        """The checked addresses. All waiters share one lookup, so that a silent resolver blocks only one thread."""
        if self._resolving is None:
            self._resolving = self._loop.create_task(self._policy.resolve(self._origin))
            self._resolving.add_done_callback(self._resolved)
        try:
            async with asyncio.timeout(within):
                return await asyncio.shield(self._resolving)
        except TimeoutError:
            raise not_sent("resolve", "the host name was not resolved in time") from None

    def _resolved(self, task: "asyncio.Task[list[IPAddress]]") -> None:
        self._resolving = None
        if not task.cancelled():
            task.exception()  # Retrieved, since all waiters may be gone.

    async def _connect_to(self, address: IPAddress) -> Connection:
        connection = Connection(self, self._limits, self._loop)
        opening = self._loop.create_connection(
            lambda: connection,
            str(address),
            self._origin.port,
            ssl=self._tls,
            server_hostname=self._origin.host if self._tls else None,
        )
        return await self._finish_opening(connection, opening)

    async def _finish_opening(
        self, connection: Connection, opening: Awaitable[tuple[asyncio.BaseTransport, object]]
    ) -> Connection:
        try:
            transport, _ = await opening
            enable_keepalive(transport)
        except BaseException:
            connection.abort()
            raise
        if connection.closed:
            raise ConnectionResetError
        if self._closed:
            connection.abort()
            raise not_sent("closed", "the client was closed")
        connection.idle_since = self._loop.time()
        self._all.add(connection)
        return connection
