"""The connections to one origin."""

import asyncio
import ssl
from collections import OrderedDict, deque
from collections.abc import Awaitable

from app.lib.tcp import enable_keepalive
from app.outbound.http.connection import Connection, Limits
from app.outbound.http.guard import AddressPolicy, IPAddress, Origin, UpstreamError

_NOBODY = -1
_Waiter = asyncio.Future[Connection | None]


class Pool:
    """Hands out clean connections, newest first, and makes new ones up to the limit.

    No caller uses more than a share of them, and callers who wait are served in turns, so one who floods waits for
    nobody but himself. A caller of ``None`` is one of the service's own requests.
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
        self._resting: dict[Connection, None] = {}
        # Of each caller, in the order of their turns.
        self._waiting: OrderedDict[int | None, deque[_Waiter]] = OrderedDict()
        self._share = limits.connections_per_caller
        # How many each caller uses or has the right to open.
        self._used: dict[int, int] = {}
        self._size = 0  # open connections and those being opened
        self._looking: asyncio.Task[list[IPAddress]] | None = None
        self._closed = False

    @property
    def empty(self) -> bool:
        """True when nothing is open, being opened, looked up or waited for."""
        return self._size == 0 and self._looking is None

    def take(self, caller: int | None = None) -> Connection | None:
        """A connection that can be written to right now, or None."""
        if caller is not None:
            used = self._used.get(caller, 0)
            if used >= self._share:
                return None
        now = self._loop.time()
        while self._resting:
            connection, _ = self._resting.popitem()
            if connection.usable(now):
                if caller is not None:
                    self._used[caller] = used + 1
                    connection.caller = caller
                return connection
            connection.abort()
        return None

    async def acquire(self, within: float, caller: int | None = None) -> Connection:
        """A connection, new if need be. Raises ``UpstreamError`` with nothing sent, and ``ForbiddenUrl``.

        ``within`` (seconds) holds for the wait for a free place and again for connecting.
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
                self._free_place()
                raise
            connection.caller = caller
            return connection

    def release(self, connection: Connection) -> None:
        """Take back a clean connection."""
        connection.rested_since = self._loop.time()
        caller = connection.caller
        if caller is not None:
            connection.caller = None
            self._discount(caller)
        if not self._waiting or not self._serve_next(connection):
            self._resting[connection] = None

    def retire(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        if connection in self._all:
            self._all.discard(connection)
            self._resting.pop(connection, None)
            self._discount(connection.caller)
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
        for waiters in self._waiting.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(
                        UpstreamError("closed", "the client was closed", may_have_been_sent=False)
                    )
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
        """Give a connection, or the right to open one, to whose turn it is; False when nobody may have it."""
        while True:
            caller = next((caller for caller in self._waiting if self._may_use(caller)), _NOBODY)
            if caller == _NOBODY:
                return False
            waiters = self._waiting[caller]
            waiter = waiters.popleft()
            if waiters:
                self._waiting.move_to_end(caller)
            else:
                del self._waiting[caller]
            # Of those who gave up in this very moment there may be thousands: a cut ends all calls of a server at once.
            if not waiter.done():
                break
        self._count(caller)
        if connection is not None:
            connection.caller = caller
        waiter.set_result(connection)
        return True

    async def _wait(self, within: float, caller: int | None) -> Connection | None:
        """A connection that somebody released, or None for the right to open one."""
        waiter: _Waiter = self._loop.create_future()
        self._waiting.setdefault(caller, deque()).append(waiter)
        try:
            async with asyncio.timeout(within):
                return await waiter
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # It was served in the very moment in which we gave up.
                served = waiter.result()
                if served is None:
                    self._discount(caller)
                    self._free_place()
                elif not served.closed:
                    self.release(served)
            else:
                self._leave(waiter, caller)
            if isinstance(error, TimeoutError):
                raise UpstreamError(
                    "busy", "all connections to the upstream are in use", may_have_been_sent=False
                ) from None
            raise

    def _leave(self, waiter: _Waiter, caller: int | None) -> None:
        waiters = self._waiting.get(caller)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiting[caller]

    def _free_place(self) -> None:
        if not self._waiting or not self._serve_next(None):
            self._size -= 1

    async def _connect(self, within: float) -> Connection:
        """Resolve once, then connect to a checked address and no other."""
        if self._origin.socket is not None:
            return await self._connect_to_socket(self._origin.socket, within)
        addresses = await self._addresses(within)
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

    async def _addresses(self, within: float) -> list[IPAddress]:
        """One look-up at a time, for all who wait for it: of a name whose resolver keeps silent, no more threads do."""
        if self._looking is None:
            self._looking = self._loop.create_task(self._policy.resolve(self._origin))
            self._looking.add_done_callback(self._looked_up)
        try:
            async with asyncio.timeout(within):
                return await asyncio.shield(self._looking)
        except TimeoutError:
            raise UpstreamError(
                "resolve", "the host name was not resolved in time", may_have_been_sent=False
            ) from None

    def _looked_up(self, task: "asyncio.Task[list[IPAddress]]") -> None:
        self._looking = None
        if not task.cancelled():
            # Whoever asked may have given up.
            task.exception()

    async def _connect_to_socket(self, path: str, within: float) -> Connection:
        connection = Connection(self, self._limits, self._loop)
        try:
            async with asyncio.timeout(within):
                return await self._opened(
                    connection, self._loop.create_unix_connection(lambda: connection, path)
                )
        except (OSError, TimeoutError):
            raise UpstreamError(
                "connect", "the supervisor cannot be reached", may_have_been_sent=False
            ) from None

    async def _connect_to(self, address: IPAddress) -> Connection:
        connection = Connection(self, self._limits, self._loop)
        opening = self._loop.create_connection(
            lambda: connection,
            str(address),
            self._origin.port,
            ssl=self._tls,
            server_hostname=self._origin.host if self._tls else None,
        )
        return await self._opened(connection, opening)

    async def _opened(
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
            raise UpstreamError("closed", "the client was closed", may_have_been_sent=False)
        connection.rested_since = self._loop.time()
        self._all.add(connection)
        return connection
