"""The one HTTP client for every request that leaves the process.

Upstreams that do not answer are left alone for a moment: their callers learn so at once, and hold nothing.

What counts is chosen so that nobody can shut an upstream for others. That it cannot be connected to counts whoever
finds out. That it takes a request and gives no answer may be the request's fault, so it counts once for each caller,
however often they try. Any answer at all, to anybody, clears the upstream.

A header that says through which gateways an MCP request came, so that one which comes back is noticed.

A server of the fleet may be the gateway itself, under another name or behind a port that is forwarded, or a further
gateway that leads back. Each gateway adds a marker of its own, the same on all of its replicas.
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
from app.outbound.http.guard import AddressPolicy, NotForwarded, Origin, Target, UpstreamError
from app.outbound.http.pool import Pool

UNREACHABLE_TIMES = 5
UNANSWERED_CALLERS = 3
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
NO_ANSWER = frozenset({502, 503, 504})
"""Said by what stands before an upstream that does not answer."""
REMEMBERED_S = 300.0
_REMEMBERED = 4096


log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Trouble:
    unreachable: int = 0
    unanswered: set[int] = field(default_factory=set)
    pause: float = 0.0
    """0 while calls go on as ever."""
    tried_again: bool = False
    looked: set[int] = field(default_factory=set)
    """Callers whose call was one that went to see."""
    until: float = 0.0
    last: float = 0.0


class Breaker:
    """What is wrong with upstreams at the moment. One with which nothing is wrong is not in it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._troubles: dict[Target, _Trouble] = {}

    def __bool__(self) -> bool:
        """Whether anything is wrong with any upstream."""
        return bool(self._troubles)

    def resting(self) -> int:
        """How many upstreams are left alone."""
        recent = self._now() - REMEMBERED_S
        return sum(1 for trouble in self._troubles.values() if trouble.pause and trouble.last >= recent)

    def warnings(self) -> list[str]:
        """For those who run the service; without names, since anybody may read them."""
        count = self.resting()
        words = "1 server does" if count == 1 else f"{count} servers do"
        return [f"{words} not answer at present; the log names them"] if count else []

    def check(self, target: Target, caller: int, asks: bool) -> None:
        """Raises ``UpstreamError`` while the upstream is left alone; after each pause one call goes and sees.

        Whoever has looked before lets others go first: calls that get no answer, whatever the upstream does, would
        otherwise be all that is seen of it, if only there are enough of them.

        ``asks``: the request wants an answer. A stream that waits to be told something may get none for long, on
        which nothing can be built: neither that it is silent, nor a look whether the upstream is back.
        """
        trouble = self._troubles.get(target)
        if trouble is None or not trouble.pause:
            return
        now, unreachable = self._now(), trouble.unreachable >= UNREACHABLE_TIMES
        turn = trouble.until if unreachable or caller not in trouble.looked else trouble.until + trouble.pause
        if now < turn or not (asks or unreachable):
            raise UpstreamError(
                "unavailable",
                "the upstream has not answered lately",
                may_have_been_sent=False,
                retry_after_s=max(1, ceil(turn - now)),
            )
        trouble.until = now + trouble.pause
        trouble.tried_again = True
        trouble.looked.add(caller)

    def failed(self, target: Target, caller: int, error: UpstreamError, asks: bool) -> None:
        """A request of this caller got no answer."""
        if error.kind in {"resolve", "connect", "tls"}:
            self._trouble(target).unreachable += 1
        elif error.kind in {"timeout", "closed"} and error.may_have_been_sent and asks:
            self._trouble(target).unanswered.add(caller)
        else:
            return
        self._judge(target)

    def answered(self, target: Target, caller: int, status: int, asks: bool) -> None:
        """An answer came; of these statuses it is none."""
        # The supervisor of commands says it of a caller's own program, and lets that rest itself.
        if status in NO_ANSWER and target.origin.socket is None:
            if asks:
                self._trouble(target).unanswered.add(caller)
                self._judge(target)
            return
        trouble = self._troubles.pop(target, None)
        if trouble is not None and trouble.pause:
            log.warning("the upstream at %s answers again", _name(target))

    def _trouble(self, target: Target) -> _Trouble:
        trouble = self._troubles.get(target)
        if trouble is None:
            if len(self._troubles) >= _REMEMBERED:
                self._troubles.clear()
            trouble = self._troubles[target] = _Trouble()
        return trouble

    def _judge(self, target: Target) -> None:
        trouble = self._troubles[target]
        trouble.last = now = self._now()
        if trouble.pause:
            # What was under way before the pause says nothing new; what was tried after it does.
            if trouble.tried_again:
                trouble.tried_again = False
                trouble.pause = min(trouble.pause * 2, LONGEST_PAUSE_S)
                trouble.until = now + trouble.pause
        elif trouble.unreachable >= UNREACHABLE_TIMES or len(trouble.unanswered) >= UNANSWERED_CALLERS:
            trouble.pause = FIRST_PAUSE_S
            trouble.until = now + trouble.pause
            log.warning("the upstream at %s does not answer: it is left alone for moments", _name(target))


def _name(target: Target) -> str:
    """Without the path, which may hold what nobody should read."""
    return f"{target.origin.scheme}://{target.origin.authority.decode('ascii')}"


VIA = b"scopegate-via"
MAX_MARKERS = 8
"""A request that came through more gateways goes in a circle too."""


_LIST = re.compile(rb"[0-9a-f]{16}(?:, [0-9a-f]{16})*")


class LoopGuard:
    """The marker of one deployment."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        """``keys``: secrets of the deployment, newest first; without one the marker is of this process only."""
        made = [hmac.digest(key, b"scopegate: via", "sha256")[:8].hex().encode() for key in keys]
        self._markers = made or [os.urandom(8).hex().encode()]

    def leads_back(self, via: bytes | None) -> bool:
        """Whether a request was sent by this very deployment."""
        if via is None:
            return False
        found = [marker.strip() for marker in via.split(b",")]
        return len(found) >= MAX_MARKERS or any(marker in found for marker in self._markers)

    def header(self, via: bytes | None = None) -> tuple[bytes, bytes]:
        """The header of a request that goes on. ``via``: what came with the request that it is for."""
        own = self._markers[0]
        return VIA, own if via is None or _LIST.fullmatch(via) is None else via + b", " + own


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
