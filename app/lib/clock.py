"""A monotonic clock that counts suspensions, for durations. What has ended, only the database's clock says."""

import time
from collections.abc import Callable
from functools import partial


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
