"""The HTTP client for all outbound requests, with a circuit breaker and loop detection.

The breaker pauses upstreams that do not answer, so that callers fail at once. One caller cannot block an upstream for
others: a failed connection counts for any caller, but a request without an answer can be the request's fault, so it
counts once per caller. Any answer to any caller resets the breaker.

A registered server can be the gateway itself, under another name or through another gateway. So each deployment adds
its own marker to a header of MCP requests and detects requests that come back.
"""

import asyncio
import hmac
import logging
import os
import re
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil
from typing import Self

from app.outbound.http.connection import (
    DEFAULT_LIMITS,
    DEFAULT_TIMEOUTS,
    Connection,
    Limits,
    OutboundResponse,
    Timeouts,
)
from app.outbound.http.guard import AddressPolicy, NotForwarded, Origin, Target, UpstreamError, not_sent
from app.outbound.http.pool import Pool

UNREACHABLE_TIMES = 5
UNANSWERED_CALLERS = 3
FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 30.0
NO_ANSWER = frozenset({502, 503, 504})
"""Statuses that a proxy returns for an upstream that does not answer."""
REMEMBERED_S = 300.0
_MAX_REMEMBERED = 4096
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Failures:
    unreachable: int = 0
    unanswered: set[int] = field(default_factory=set)
    pause: float = 0.0
    """The length of the current pause; 0 while requests are sent."""
    was_probed: bool = False
    probed_by: set[int] = field(default_factory=set)
    """Callers whose requests probed the upstream."""
    until: float = 0.0
    last: float = 0.0


class Breaker:
    """A circuit breaker for upstreams that do not answer. It keeps only those with failures."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.failures: dict[Target, _Failures] = {}

    def warnings(self) -> list[str]:
        """Warnings for operators. They are public, so only the log names the upstreams."""
        recent = self._now() - REMEMBERED_S
        count = sum(1 for failures in self.failures.values() if failures.pause and failures.last >= recent)
        words = "1 server does" if count == 1 else f"{count} servers do"
        return [f"{words} not answer at present; the log names them"] if count else []

    def check(self, target: Target, caller: int, asks: bool) -> None:
        """Raise ``UpstreamError`` while the upstream is paused. After each pause, one request probes it.

        A caller that has probed before lets others go first, because the lack of an answer can be its own fault.

        ``asks``: the request expects an answer. A listening stream can stay silent for long, so it neither counts as a
        failure nor serves as a probe.
        """
        failures = self.failures.get(target)
        if failures is None or not failures.pause:
            return
        now, unreachable = self._now(), failures.unreachable >= UNREACHABLE_TIMES
        turn = (
            failures.until
            if unreachable or caller not in failures.probed_by
            else failures.until + failures.pause
        )
        if now < turn or not (asks or unreachable):
            wait_s = max(1, ceil(turn - now))
            raise not_sent("unavailable", "the upstream has not answered recently", retry_after_s=wait_s)
        failures.until = now + failures.pause
        failures.was_probed = True
        failures.probed_by.add(caller)

    def failed(self, target: Target, caller: int, error: UpstreamError, asks: bool) -> None:
        """Record that a request of this caller got no answer."""
        if error.kind in {"resolve", "connect", "tls"}:
            self._failures_of(target).unreachable += 1
        elif error.kind in {"timeout", "closed"} and error.may_have_been_sent and asks:
            self._failures_of(target).unanswered.add(caller)
        else:
            return
        self._update_pause(target)

    def answered(self, target: Target, caller: int, status: int, asks: bool) -> None:
        """Record an answer. The statuses ``NO_ANSWER`` count as none."""
        # The supervisor returns them for one caller's program, which it pauses itself.
        if status in NO_ANSWER and target.origin.socket is None:
            if asks:
                self._failures_of(target).unanswered.add(caller)
                self._update_pause(target)
            return
        failures = self.failures.pop(target, None)
        if failures is not None and failures.pause:
            log.warning("the upstream at %s answers again", _name(target))

    def _failures_of(self, target: Target) -> _Failures:
        failures = self.failures.get(target)
        if failures is None:
            if len(self.failures) >= _MAX_REMEMBERED:
                self.failures.clear()
            failures = self.failures[target] = _Failures()
        return failures

    def _update_pause(self, target: Target) -> None:
        failures = self.failures[target]
        failures.last = now = self._now()
        if failures.pause:
            # Only probes after the pause count, not requests from before it.
            if failures.was_probed:
                failures.was_probed = False
                failures.pause = min(failures.pause * 2, MAX_PAUSE_S)
                failures.until = now + failures.pause
        elif failures.unreachable >= UNREACHABLE_TIMES or len(failures.unanswered) >= UNANSWERED_CALLERS:
            failures.pause = FIRST_PAUSE_S
            failures.until = now + failures.pause
            log.warning("the upstream at %s does not answer: requests to it are paused", _name(target))


def _name(target: Target) -> str:
    """The target without its path, which can contain secrets."""
    return f"{target.origin.scheme}://{target.origin.authority.decode('ascii')}"


VIA = b"scopegate-via"
MAX_MARKERS = 8
"""A request that passed this many gateways counts as a loop."""
_LIST = re.compile(rb"[0-9a-f]{16}(?:, [0-9a-f]{16})*")


class LoopGuard:
    """Detects requests that this deployment sent itself."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        """``keys``: secrets of the deployment, newest first. Without keys, the marker is specific to this process."""
        markers = [hmac.digest(key, b"scopegate: via", "sha256")[:8].hex().encode() for key in keys]
        self._markers = markers or [os.urandom(8).hex().encode()]

    def is_loop(self, via: bytes | None) -> bool:
        """Whether this deployment sent the request."""
        if via is None:
            return False
        markers = [marker.strip() for marker in via.split(b",")]
        return len(markers) >= MAX_MARKERS or any(marker in markers for marker in self._markers)

    def header(self, via: bytes | None = None) -> tuple[bytes, bytes]:
        """The header of a forwarded request. ``via`` is the value of the incoming request."""
        own = self._markers[0]
        return VIA, own if via is None or _LIST.fullmatch(via) is None else via + b", " + own


_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_RESERVED = frozenset(
    b"host content-length transfer-encoding connection accept-encoding expect upgrade".split()
)

# RFC 9110, 5.6.2 and 5.5: a token, then visible characters, spaces and tabs. No CR, LF or NUL.
_HEADER_BLOCK = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t\x20-\x7e\x80-\xff]*\r\n)*")
_SWEEP_EVERY = 0.1
_MAX_TARGETS = 4096


class OutboundClient:
    """A guarded HTTP/1.1 client with keep-alive: no redirects, proxies, cookies or compression.

    Create it in the event loop that uses it; close it with ``aclose`` or ``async with``.
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
        # Cached because checking and splitting a URL costs as much as the rest of sending; the policy never changes.
        self._target = lru_cache(_MAX_TARGETS)(policy.check_target)
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
        """Send one request and return when the headers of its response have arrived.

        ``url`` is a string, or (faster) a ``Target`` from ``AddressPolicy.check_target``. Raises ``ValueError`` for the
        headers ``Host``, ``Content-Length``, ``Connection`` and ``Accept-Encoding``, which the client sets itself, for
        CR, LF or NUL in a header, and for methods other than GET, POST, PUT, PATCH and DELETE. Redirects are returned.

        ``before_send`` is called when the connection is ready and nothing has been written yet. There is no await
        between its approval and the write. Read the response to its end or ``close()`` it. Cancelling this call cuts
        the connection. No request is sent twice.

        With a ``caller``, the caller's share of connections and the breaker apply.

        Raises ``ForbiddenUrl``, ``NotForwarded``, ``UpstreamError``.
        """
        target = url if isinstance(url, Target) else self._target(url)
        wire = _encode(method, target, headers, body)
        breaker = self.breaker
        if breaker.failures and caller is not None:
            breaker.check(target, caller, method == "POST")
        pool = self._pool(target.origin)
        try:
            connection = pool.take(caller)
            if connection is None:
                connection = await pool.acquire(timeouts.connect, caller)
            if before_send is not None:
                _confirm(before_send, pool, connection)
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
                    # The head arrived just before the cancellation, and the connection may already be in use again.
                    head.result().close()
                raise
        except UpstreamError as error:
            if caller is not None:
                breaker.failed(target, caller, error, method == "POST")
            raise
        if caller is not None and (breaker.failures or response.status in NO_ANSWER):
            breaker.answered(target, caller, response.status, method == "POST")
        return response

    async def aclose(self) -> None:
        """Abort all connections."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        await asyncio.sleep(0)  # Let the transports close their sockets.

    def _pool(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            if self._closed:
                raise not_sent("closed", "the client was closed")
            if origin.scheme != "http" and self._tls is None:
                self._tls = ssl.create_default_context()
            pool = Pool(origin, self.policy, self.limits, self._tls if origin.scheme != "http" else None)
            self._pools[origin] = pool
            if self._sweeper is None:
                self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_EVERY, self._sweep)
        return pool

    def _sweep(self) -> None:
        """Check the timeouts of all requests with one timer; a timer per request would cost more than the write."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for origin, pool in list(self._pools.items()):
            pool.sweep(now)
            if pool.empty:
                del self._pools[origin]
        self._sweeper = loop.call_later(_SWEEP_EVERY, self._sweep) if self._pools else None


def _confirm(before_send: Callable[[], bool], pool: Pool, connection: Connection) -> None:
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
    if not _RESERVED.isdisjoint([name.lower() for name, _ in headers]):
        raise ValueError("a header is reserved for the client")
    if body or method in _WITH_BODY:
        block += b"Content-Length: %d\r\n" % len(body)
    return b"%s %s HTTP/1.1\r\nHost: %s\r\nAccept-Encoding: identity\r\n%s\r\n%s" % (
        method.encode("ascii"),
        target.path,
        target.origin.authority,
        block,
        body,
    )
