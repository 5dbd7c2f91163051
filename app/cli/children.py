"""Programs that a command starts and must not leave behind."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Child:
    """One program in a process group of its own: Ctrl-C in the terminal reaches its parent alone.

    On Linux it gets ``farewell`` when the parent dies, however that happens.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        log: Path | None = None,
        grace_seconds: float = 5.0,
        farewell: signal.Signals = signal.SIGTERM,
    ) -> None:
        """``log`` takes both outputs and is written anew; without it the child shares ours.
        ``grace_seconds`` is what ``stop`` allows after SIGTERM before it kills."""
        self.name = name
        self.log = log
        self._grace_seconds = grace_seconds
        output = log.open("wb") if log is not None else None
        try:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output is not None else None,
                start_new_session=True,
                # Safe: the parent is a command line with one thread, and nothing in it takes a lock.
                preexec_fn=_first_in_child(farewell),  # noqa: PLW1509
            )
        finally:
            if output is not None:
                output.close()

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; 128 + n when signal n ended it."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    def wait(self, seconds: float) -> int | None:
        """Wait at most ``seconds`` for the end; the exit code, or ``None`` when it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.exit_code

    def stop(self) -> None:
        """Ask, wait for the grace, then kill the whole group."""
        if self._process.poll() is None:
            self._process.terminate()
            self.wait(self._grace_seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # The group outlives its leader while it has members. PermissionError: macOS says so of zombies.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def end_with_parent() -> None:
    """On Linux: from here on this process, a worker, gets SIGTERM when its parent dies, however that happens."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        _farewell(ctypes.CDLL(None) if sys.platform == "linux" else None, signal.SIGTERM, parent.pid)


def _first_in_child(farewell: signal.Signals) -> Callable[[], None]:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    parent = os.getpid()

    def prepare() -> None:
        # A mask is inherited, and with our signals blocked the child could not be stopped.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _farewell(libc, farewell, parent)

    return prepare


def _farewell(libc: ctypes.CDLL | None, farewell: signal.Signals, parent: int | None) -> None:
    if libc is not None:
        libc.prctl(_PR_SET_PDEATHSIG, int(farewell), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # The parent died before the line above.
