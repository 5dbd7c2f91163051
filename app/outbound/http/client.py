"""The one HTTP client for every request that leaves the process."""

import asyncio
import re
import ssl
from collections.abc import Callable, Sequence
from typing import Self

from app.outbound.http.breaker import NO_ANSWER, Breaker
from app.outbound.http.connection import Connection
from app.outbound.http.errors import NotForwarded, UpstreamError
from app.outbound.http.guard import AddressPolicy, Origin, Target
from app.outbound.http.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS, Limits, Timeouts
from app.outbound.http.loops import LoopGuard
from app.outbound.http.pool import Pool
from app.outbound.http.response import OutboundResponse

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_OURS = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"accept-encoding",
        b"expect",
        b"upgrade",
    }
)
# RFC 9110, 5.6.2 and 5.5: a token, then visible characters, spaces and tabs. No CR, LF or NUL.
_HEADER_BLOCK = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t\x20-\x7e\x80-\xff]*\r\n)*")
_SWEEP_EVERY = 0.1
# Checking and splitting a URL costs as much as the rest of sending; a service has few upstreams.
_REMEMBERED_TARGETS = 4096


class OutboundClient:
    """Guarded HTTP/1.1 with keep-alive: no redirects, proxies, cookies or compression.

    Make it inside the event loop that uses it; close it with ``aclose`` or ``async with``.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        limits: Limits = DEFAULT_LIMITS,
        ssl_context: ssl.SSLContext | None = None,
        loops: LoopGuard | None = None,
    ) -> None:
        self.policy = policy
        self.loops = loops or LoopGuard()
        self.limits = limits
        self.breaker = Breaker()
        self._tls = ssl_context
        self._pools: dict[Origin, Pool] = {}
        self._targets: dict[str, Target] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    async def request(
        self,
        method: str,
        url: str | Target,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        before_send: Callable[[], bool] | None = None,
        caller: int | None = None,
    ) -> OutboundResponse:
        """Send one request and return when the headers of its answer are there.

        ``url`` is a string, or (faster) a ``Target`` from ``AddressPolicy.check_target``. ``Host``, ``Content-Length``,
        ``Connection`` and ``Accept-Encoding`` are ours: passing one is a ``ValueError``, as are CR, LF or NUL in a
        header and other methods than GET, POST, PUT, PATCH and DELETE. A redirect is an answer like any other.

        ``before_send`` is asked when the connection is ready and nothing has been written yet; there is no await
        between its yes and the write. Read the answer to its end or ``close()`` it. Cancelling
        this call cuts the connection. Nothing is ever sent twice.

        ``caller`` says on whose behalf: each has a share of the connections, and an upstream that does not answer is
        left alone. Without, neither holds.

        Raises ``ForbiddenUrl``, ``NotForwarded``, ``UpstreamError``.
        """
        target = url if isinstance(url, Target) else self._target(url)
        wire = _encode(method, target, headers, body)
        breaker = self.breaker
        if breaker and caller is not None:
            breaker.check(target, caller, method == "POST")
        pool = self._pool(target.origin)
        try:
            connection = pool.take(caller)
            if connection is None:
                connection = await pool.acquire(timeouts.connect, caller)
            if before_send is not None:
                _ask(before_send, pool, connection)
                # failpoint: before_forward
            head = connection.start(wire, timeouts)
            # failpoint: after_forward
            try:
                response = await head
            except asyncio.CancelledError:
                if head.cancelled():
                    # mutation: upstream_cut
                    connection.abort()
                elif head.exception() is None:
                    # The head arrived in the moment of the cancellation; the connection may be somebody else's by now.
                    head.result().close()
                raise
        except UpstreamError as error:
            if caller is not None:
                breaker.failed(target, caller, error, method == "POST")
            raise
        if caller is not None and (breaker or response.status in NO_ANSWER):
            breaker.answered(target, caller, response.status, method == "POST")
        return response

    async def aclose(self) -> None:
        """Abort every connection."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        await asyncio.sleep(0)  # Let the transports close their sockets.

    def _target(self, url: str) -> Target:
        """The checked target of a URL: the same for the same URL, since the policy never changes."""
        target = self._targets.get(url)
        if target is None:
            target = self.policy.check_target(url)
            if len(self._targets) >= _REMEMBERED_TARGETS:
                self._targets.clear()
            self._targets[url] = target
        return target

    def _pool(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            if self._closed:
                raise UpstreamError("closed", "the client was closed", may_have_been_sent=False)
            pool = Pool(origin, self.policy, self.limits, self._tls_for(origin))
            self._pools[origin] = pool
            if self._sweeper is None:
                self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_EVERY, self._sweep)
        return pool

    def _tls_for(self, origin: Origin) -> ssl.SSLContext | None:
        if origin.scheme == "http":
            return None
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _sweep(self) -> None:
        """One timer for all requests: a timer of its own for each would cost more than the rest of the write."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for origin, pool in list(self._pools.items()):
            pool.sweep(now)
            if pool.empty:
                del self._pools[origin]
        self._sweeper = loop.call_later(_SWEEP_EVERY, self._sweep) if self._pools else None


def _ask(before_send: Callable[[], bool], pool: Pool, connection: Connection) -> None:
    try:
        go = before_send()
    except BaseException:
        pool.release(connection)
        raise
    if not go:
        pool.release(connection)
        raise NotForwarded


def _encode(method: str, target: Target, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes:
    if method not in _METHODS:
        raise ValueError("method not supported")
    block = b"".join([b"%s: %s\r\n" % header for header in headers])
    if block.count(b"\n") != len(headers) or not _HEADER_BLOCK.fullmatch(block):
        raise ValueError("a header is not valid")
    if not _OURS.isdisjoint([name.lower() for name, _ in headers]):
        raise ValueError("a header is not the caller's to set")
    if body or method in _WITH_BODY:
        block += b"Content-Length: %d\r\n" % len(body)
    return b"%s %s HTTP/1.1\r\nHost: %s\r\nAccept-Encoding: identity\r\n%s\r\n%s" % (
        method.encode("ascii"),
        target.path,
        target.origin.authority,
        block,
        body,
    )
