"""Fast starts of gateways: one process imports the whole service, and each gateway is a fork of it.

``python -m tests.faults.rig.fork_server`` reads a line of JSON for each gateway, answers with its process id, and ends
with its input. A fork runs ``scopegate serve``. All failpoints are compiled in; ``RIG_FAILPOINTS`` of a gateway defines
their actions, and ``RIG_MUTANT`` of the fork server the mutant. On SIGUSR2 a gateway writes the number of its tasks to
``RIG_GAUGE``. After SIGUSR1 it stops itself when it has admitted calls and not sent them yet.
"""

import asyncio
import ctypes
import gc
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

from tests.faults.rig import compiled_in
from tests.faults.rig.breaks import breaks_of

_ROOT = compiled_in.ROOT
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_IN_A_CROWD = 3
"""The first statements after a crowd came admit few of its calls."""


class ForkServer:
    """The process, and a way to ask it for gateways."""

    def __init__(self, mutant: str | None) -> None:
        environment = {**os.environ, "RIG_MUTANT": mutant or ""}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            env=environment, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._asking = threading.Lock()

    def fork(self, environment: dict[str, str], log: Path) -> "Child":
        """A new gateway with this environment, which appends to this log. Raises ``OSError`` and ``ValueError`` when
        the fork server is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._asking:
            self._process.stdin.write(json.dumps([environment, str(log)]).encode() + b"\n")
            self._process.stdin.flush()
            return Child(int(self._process.stdout.readline()))

    def close(self) -> None:
        """End it; the gateways go on."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Child:
    """A process that is not ours to wait for, with as much of ``subprocess.Popen`` as a gateway needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._handle = os.pidfd_open(pid)
        except ProcessLookupError:
            # It is over already.
            self._handle = -1

    def __del__(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)

    def poll(self) -> int | None:
        """Zero once it is over, however it ended."""
        if self._handle < 0 or select.select([self._handle], [], [], 0)[0]:
            return 0
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises ``subprocess.TimeoutExpired``."""
        if self._handle >= 0:
            select.select([self._handle], [], [], timeout)
        ended = self.poll()
        if ended is None:
            raise subprocess.TimeoutExpired("gateway", timeout or 0)
        return ended

    def terminate(self) -> None:
        """SIGTERM."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def _become(environment: dict[str, str], log: str) -> NoReturn:
    """Be a gateway, to the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing, written = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for old, new in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(old, new)
    os.environ.clear()
    os.environ.update(environment)
    compiled_in._actions.update(compiled_in.parsed(environment.get("RIG_FAILPOINTS", "")))
    signal.signal(signal.SIGUSR2, lambda *_: _tell_tasks(Path(environment["RIG_GAUGE"])))
    signal.signal(signal.SIGUSR1, lambda *_: compiled_in.stop_soon("after_admission", _IN_A_CROWD))
    from app.cli import main

    # When the driver is killed, the fork server ends, and nothing may be left.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    sys.argv = ["scopegate", "serve"]
    code = 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell_tasks(gauge: Path) -> None:
    """Write the number of tasks to the file. It runs between two steps of the loop, so no task ends during it."""
    unfinished = gauge.with_suffix(".new")
    unfinished.write_text(str(len(asyncio.all_tasks())), encoding="ascii")
    unfinished.rename(gauge)


def _serve() -> None:
    idle = dict.fromkeys(compiled_in.failpoints(), compiled_in.Action())
    compiled_in.install(idle, breaks_of(os.environ.get("RIG_MUTANT", "")))
    # What a gateway imports as it starts.
    import app.cli.commands
    import app.cli.serve
    import app.main  # noqa: F401

    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a process with threads must not fork"
    # Children reap themselves.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    for line in sys.stdin:
        environment, log = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(environment, log)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
