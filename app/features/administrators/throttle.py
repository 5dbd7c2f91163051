"""Holding back whoever guesses: so many attempts a minute from one address, and so many in all."""

import time
from collections import deque
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from math import ceil

WINDOW_S = 60.0


class Throttle:
    """Counts the attempts that it admitted in the last minute. What it turns away costs and counts nothing."""

    def __init__(self, each: int, together: int, now: Callable[[], float] = time.monotonic) -> None:
        self._each = each
        self._together = together
        self._now = now
        self._admitted: deque[tuple[float, str]] = deque()

    def wait_s(self, address: str) -> int:
        """Whole seconds until this address may try; at 0 it may now, and that is counted."""
        now, source = self._now(), _source(address)
        while self._admitted and self._admitted[0][0] <= now - WINDOW_S:
            self._admitted.popleft()
        own = [time for time, by in self._admitted if by == source]
        if len(self._admitted) >= self._together:
            return _until(self._admitted[0][0], now)
        if len(own) >= self._each:
            return _until(own[0], now)
        self._admitted.append((now, source))
        return 0


def _until(oldest: float, now: float) -> int:
    return max(1, ceil(oldest + WINDOW_S - now))


def _source(address: str) -> str:
    """What counts as one address: of IPv6 the network that one subscriber has to himself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or parsed.exploded[:19])
    return str(parsed)
