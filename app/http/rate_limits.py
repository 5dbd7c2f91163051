"""How often a caller may ask, and how often an address may fail to say who it is.

Each worker counts for itself, in memory, against its share of the limit: a database that is asked about every
request would be the first thing that a flood brings down.

Things that take long, of which a worker and a caller may have so many under way.
"""

import hashlib
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from math import ceil
from uuid import UUID

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import TooManyRequests, Unauthenticated
from app.http.authorization import Authenticator, Caller

WINDOW_S = 60
REMEMBERED = 10_000


# Told the client's address of each refused credential.
Tell = Callable[[str | None], None]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where somebody stands against a limit."""

    policy: str
    quota: int
    remaining: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers-10 writes it."""
        return {
            "RateLimit-Policy": f'"{self.policy}";q={self.quota};w={WINDOW_S}',
            "RateLimit": f'"{self.policy}";r={self.remaining};t={self.reset_s}',
        }


class Quota:
    """So many for each key in a minute, which begins with the key's first. A limit of 0 is none.

    At most ``REMEMBERED`` keys are kept; past them, the one whose minute began first is let off.
    """

    def __init__(
        self, policy: str, limit: int, *, workers: int = 1, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._policy = policy
        self._limit = max(1, limit // workers) if limit else 0
        self._now = now
        # When the minute of a key ends and what it has used; in the order of these ends.
        self._used: OrderedDict[object, tuple[float, int]] = OrderedDict()

    def standing(self, key: object) -> Standing | None:
        """Where a key stands; ``None`` without a limit."""
        if not self._limit:
            return None
        now = self._now()
        ends, used = self._used.get(key, (now + WINDOW_S, 0))
        if ends <= now:
            ends, used = now + WINDOW_S, 0
        left = max(0, self._limit - used)
        return Standing(self._policy, self._limit, left, max(1, ceil(ends - now)))

    def take(self, key: object) -> bool:
        """Count one for a key; whether it was within the limit."""
        if not self._limit:
            return True
        now = self._now()
        while self._used and (next(iter(self._used.values()))[0] <= now):
            self._used.popitem(last=False)
        ends, used = self._used.get(key, (now + WINDOW_S, 0))
        if used == 0 and len(self._used) >= REMEMBERED:
            self._used.popitem(last=False)
        self._used[key] = (ends, used + 1)
        return used < self._limit


class SignInAttempts:
    """Holds back addresses that keep presenting credentials which open nothing.

    A credential that worked here before is not held back by what its neighbours behind the same address do, so
    nobody is locked out from revoking by somebody else's noise.
    """

    def __init__(self, quota: Quota) -> None:
        self._failures = quota
        self._proven: OrderedDict[bytes, None] = OrderedDict()
        self.tell: Tell | None = None
        """Who records what was refused; set once the log can be written to."""

    @contextmanager
    def attempt(self, request: Request, credential: str | None) -> Iterator[None]:
        """Around checking a credential. Raises ``TooManyRequests`` before it is looked at.

        No credential at all cannot be a guess: it is recorded, and never held back.
        """
        address = client_address(request)
        key = None if credential is None else hashlib.sha256(credential.encode("utf-8", "replace")).digest()
        if key is not None and key not in self._proven:
            self._check(request, source_of(address))
        try:
            yield
        except Unauthenticated:
            if key is not None:
                self._proven.pop(key, None)
                self._failures.take(source_of(address))
            if self.tell is not None:
                self.tell(address)
            raise
        if key is not None:
            self._proven[key] = None
            self._proven.move_to_end(key)
            if len(self._proven) > REMEMBERED:
                self._proven.popitem(last=False)

    def _check(self, request: Request, source: str) -> None:
        standing = self._failures.standing(source)
        if standing is not None and standing.remaining == 0:
            request.state.standing = standing
            raise TooManyRequests(
                "Too many credentials from your address opened nothing: wait before the next one.",
                retry_after_s=standing.reset_s,
            )


class LimitedAuthenticator:
    """Implements ``http.authorization.Authenticator`` around another: so many failures an address, so many requests
    a caller."""

    def __init__(
        self,
        authenticate: Authenticator,
        attempts: SignInAttempts,
        requests: Quota,
        credential: Callable[[Request], str | None] = lambda request: request.headers.get("authorization"),
    ) -> None:
        """``credential`` is where the credential is that the other reads."""
        self._authenticate = authenticate
        self._credential = credential
        self._attempts = attempts
        self._requests = requests

    async def __call__(self, request: Request, session: AsyncSession) -> Caller:
        """The caller. Raises ``Unauthenticated``, ``TooManyRequests`` and what the other raises."""
        with self._attempts.attempt(request, self._credential(request)):
            caller = await self._authenticate(request, session)
        # A request that lost against another one is run again, and counts once.
        if getattr(request.state, "standing", None) is None:
            within = self._requests.take(caller.id)
            request.state.standing = standing = self._requests.standing(caller.id)
            if standing is not None and not within:
                raise TooManyRequests(
                    "You have made as many requests as you may in a minute: wait before the next one.",
                    retry_after_s=standing.reset_s,
                )
        return caller


def client_address(request: Request) -> str | None:
    """The client's address; the server has taken trusted proxies off it."""
    return request.client.host if request.client else None


def source_of(address: str | None) -> str:
    """What counts as one address: of IPv6 the network that one subscriber has to himself."""
    if address is None:
        return ""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or parsed.exploded[:19])
    return str(parsed)


RETRY_S = 5


class Slots:
    """Counts them in this worker. ``what`` they are is said in words."""

    def __init__(self, what: str, code: str, *, most: int, most_of_caller: int) -> None:
        self._what = what
        self._code = code
        self._most = most
        self._most_of_caller = most_of_caller
        self._taken: Counter[UUID] = Counter()

    def check(self, caller: Caller) -> None:
        """Raise ``TooManyRequests`` where no more can begin."""
        is_full = self._taken.total() >= self._most
        if is_full or self._taken[caller.id] >= self._most_of_caller:
            whose = "This service has" if is_full else "You have"
            raise TooManyRequests(
                f"{whose} as many {self._what} under way as there may be: end one, or ask again later.",
                retry_after_s=RETRY_S,
                code=self._code,
            )

    @contextmanager
    def held(self, caller: Caller) -> Iterator[None]:
        """Hold one around a block. Raises as ``check`` does."""
        self.check(caller)
        self._taken[caller.id] += 1
        try:
            yield
        finally:
            self._taken[caller.id] -= 1
            if not self._taken[caller.id]:
                del self._taken[caller.id]
