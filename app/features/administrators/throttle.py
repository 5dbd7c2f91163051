"""Rate limit for sign-in attempts: per address per minute, and in total.

The loopback address has its own limit, so that a flood does not lock out a person on the machine itself.
"""

import time
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address
from math import ceil

from app.http.rate_limits import source_of

WINDOW_S = 60.0


class Throttle:
    """Counts the attempts admitted in the last minute. A refused attempt costs and counts nothing."""

    def __init__(self, each: int, together: int, now: Callable[[], float] = time.monotonic) -> None:
        self._each = each
        self._together = together
        self._now = now
        self._admitted: deque[tuple[float, str]] = deque()

    def wait_s(self, address: str) -> int:
        """Seconds until this address may try; at 0 it may try now, and the attempt is counted."""
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
