"""The guard: starts the supervisor, restarts it if it dies, and ends all processes that it leaves.

It inherits every process that the supervisor loses, so that a SIGKILL of the supervisor ends the commands too. It has
no other task, so that little can make it fail; if it does, the supervisor shuts down cleanly.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from types import FrameType

from app.supervisor.processes import adopt_orphans, die_with, kill_below

_RESTART_DELAY_S = 1.0
_GRACE = 10.0


class _Stop(BaseException):
    """The parent requested the end."""


def guard(command: list[str]) -> None:
    """Keep ``command`` running until SIGTERM or SIGINT; then end it and all descendants."""
    adopt_orphans()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    supervisor: subprocess.Popen[bytes] | None = None
    try:
        while True:
            # Safe: this process has one thread.
            supervisor = subprocess.Popen(command, preexec_fn=partial(die_with, os.getpid(), signal.SIGTERM))  # noqa: PLW1509
            supervisor.wait()
            kill_below(os.getpid())
            time.sleep(_RESTART_DELAY_S)
    except _Stop:
        if supervisor is not None:
            _end(supervisor)
    finally:
        kill_below(os.getpid())


def _end(supervisor: "subprocess.Popen[bytes]") -> None:
    supervisor.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        supervisor.wait(_GRACE)
    supervisor.kill()
    supervisor.wait()


def _stop(_number: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise _Stop


if __name__ == "__main__":
    guard([sys.executable, "-m", "app.supervisor.app"])
