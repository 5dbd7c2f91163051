"""Limits of requests per caller, and of failed authentications per address.

Each worker counts in memory, against its share of the limit: a database that counted every request would be the first
victim of a flood.

Slow operations are limited by their number per worker and per caller.
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


# Called with the client's address for each refused credential.
Tell = Callable[[str | None], None]


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a key against a limit."""

    policy: str
    quota: int
    remaining: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """The headers of draft-ietf-httpapi-ratelimit-headers-10."""
        return {
            "RateLimit-Policy": f'"{self.policy}";q={self.quota};w={WINDOW_S}',
            "RateLimit": f'"{self.policy}";r={self.remaining};t={self.reset_s}',
        }


class Quota:
    """A limit per key and minute, which begins with the key's first use. A limit of 0 means none.

    At most ``REMEMBERED`` keys are kept; beyond that the oldest minute is dropped.
    """

    def __init__(
        self, policy: str, limit: int, *, workers: int = 1, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._policy = policy
        self._limit = max(1, limit // workers) if limit else 0
        self._now = now
        # The end of the minute and the use of each key, ordered by end.
        self._used: OrderedDict[object, tuple[float, int]] = OrderedDict()

    def standing(self, key: object) -> Standing | None:
        """The state of a key; ``None`` without a limit."""
        if not self._limit:
            return None
        now = self._now()
        ends, used = self._used.get(key, (now + WINDOW_S, 0))
        if ends <= now:
            ends, used = now + WINDOW_S, 0
        left = max(0, self._limit - used)
        return Standing(self._policy, self._limit, left, max(1, ceil(ends - now)))

    def take(self, key: object) -> bool:
        """Count one use of a key; return whether it was within the limit."""
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
    """Limits addresses that repeatedly present invalid credentials.

    A credential that has worked before is not limited by failures from the same address, so that revocations remain
    possible.
    """

    def __init__(self, quota: Quota) -> None:
        self._failures = quota
        self._proven: OrderedDict[bytes, None] = OrderedDict()
        self.tell: Tell | None = None
        """Records refusals; set once the log can be written."""

    @contextmanager
    def attempt(self, request: Request, credential: str | None) -> Iterator[None]:
        """Wrap the check of a credential. Raises ``TooManyRequests`` before the check.

        A request without a credential cannot be a guess: it is recorded, but not limited.
        """
        address = client_address(request)
        key = None if credential is None else hashlib.sha256(credential.encode("utf-8", "replace")).digest()
        if key is not None and key not in self._proven:
            standing = self._failures.standing(source_of(address))
            if standing is not None and standing.remaining == 0:
                request.state.standing = standing
                raise TooManyRequests(
                    "Too many credentials from your address opened nothing: wait before the next one.",
                    retry_after_s=standing.reset_s,
                )
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


class LimitedAuthenticator:
    """Implements ``http.authorization.Authenticator`` around another one: limits failures per address, and requests per
    caller."""

    def __init__(
        self,
        authenticate: Authenticator,
        attempts: SignInAttempts,
        requests: Quota,
        credential: Callable[[Request], str | None] = lambda request: request.headers.get("authorization"),
    ) -> None:
        """``credential`` reads the credential that the other authenticator uses."""
        self._authenticate = authenticate
        self._credential = credential
        self._attempts = attempts
        self._requests = requests

    async def __call__(self, request: Request, session: AsyncSession) -> Caller:
        """Authenticate. Raises ``Unauthenticated``, ``TooManyRequests`` and what the other authenticator raises."""
        with self._attempts.attempt(request, self._credential(request)):
            caller = await self._authenticate(request, session)
        # A request that is repeated after a conflict of transactions counts once.
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
    """The client's address; the server has removed trusted proxies."""
    return request.client.host if request.client else None


def source_of(address: str | None) -> str:
    """The source of an address: for IPv6 the network of one subscriber."""
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
    """Counts the running operations of this worker. ``what`` describes them in words."""

    def __init__(self, what: str, code: str, *, most: int, most_of_caller: int) -> None:
        self._what = what
        self._code = code
        self._most = most
        self._most_of_caller = most_of_caller
        self._taken: Counter[UUID] = Counter()

    def check(self, caller: Caller) -> None:
        """Raise ``TooManyRequests`` if no more can begin."""
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
        """Hold a slot during a block. Raises as ``check`` does."""
        self.check(caller)
        self._taken[caller.id] += 1
        try:
            yield
        finally:
            self._taken[caller.id] -= 1
            if not self._taken[caller.id]:
                del self._taken[caller.id]
