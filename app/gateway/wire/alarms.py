"""Coarse timers for what almost never takes that long: one loop timer for all calls instead of one for each."""

import asyncio
from collections.abc import Callable
from time import monotonic

TICK = 0.05
"""Seconds by which an alarm may be late."""


class Alarms:
    """Rings callbacks after a time unless they are cleared before. Belongs to one event loop."""

    def __init__(self) -> None:
        self._due: dict[int, tuple[float, Callable[[], None]]] = {}
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float, ring: Callable[[], None]) -> int:
        """Ring after so many seconds. Returns what ``clear`` takes."""
        self._next = key = self._next + 1
        self._due[key] = (monotonic() + seconds, ring)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
        return key

    def clear(self, key: int) -> None:
        """Do not ring; no harm when it rang already."""
        self._due.pop(key, None)

    def _tick(self) -> None:
        now = monotonic()
        for key, (due, ring) in list(self._due.items()):
            if due <= now:
                del self._due[key]
                ring()
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick) if self._due else None
