"""Holding back whoever guesses: so many attempts a minute from one address, and so many in all.

The machine itself has its own few whatever others do, so that a flood does not lock out who can sign in there.
"""

import time
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address
from math import ceil

from app.http.rate_limits import source_of

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
        now, source = self._now(), source_of(address)
        while self._admitted and self._admitted[0][0] <= now - WINDOW_S:
            self._admitted.popleft()
        own = [time for time, by in self._admitted if by == source]
        if len(self._admitted) >= self._together and not _is_loopback(address):
            return _until(self._admitted[0][0], now)
        if len(own) >= self._each:
            return _until(own[0], now)
        self._admitted.append((now, source))
        return 0


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _until(oldest: float, now: float) -> int:
    return max(1, ceil(oldest + WINDOW_S - now))
