"""The clocks of the process: wall time for the control plane, and one for how long ago something was."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)


def _clock_of_boot() -> int | None:
    """The system's clock that goes on while the machine is suspended; ``None`` where there is no such clock."""
    # Linux: CLOCK_BOOTTIME. macOS: CLOCK_MONOTONIC, which goes on there. Windows: time.monotonic() does.
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        try:
            clock: int = getattr(time, name)
            time.clock_gettime(clock)
        except (AttributeError, OSError):
            continue
        return clock
    return None


_BOOT = _clock_of_boot()


def boot_time() -> float:
    """Seconds of a clock that never goes back, and that counts the time for which the machine was suspended.

    ``time.monotonic`` does not count it on Linux: what was checked before a suspension would look fresh after it.
    """
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)
