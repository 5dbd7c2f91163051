"""The clocks of the process: wall time, and a monotonic clock that counts suspensions."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current time in UTC, timezone-aware."""
    return datetime.now(UTC)


def _clock_of_boot() -> int | None:
    """The system clock that keeps running while the machine is suspended; ``None`` if there is none."""
    # Linux: CLOCK_BOOTTIME. macOS: CLOCK_MONOTONIC. On Windows, time.monotonic() counts suspensions itself.
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        try:
            clock: int = getattr(time, name)
            time.clock_gettime(clock)
        except (AttributeError, OSError):
            continue
        return clock
    return None


_BOOT = _clock_of_boot()


# Not a function of ours, because each call reads it several times.
boot_time: Callable[[], float] = time.monotonic if _BOOT is None else partial(time.clock_gettime, _BOOT)
"""Seconds of a monotonic clock that keeps running while the machine is suspended.

On Linux, ``time.monotonic`` does not: what was checked before a suspension would seem fresh after it.
"""
