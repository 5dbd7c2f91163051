"""Ends what a killed run of the tests leaves: its processes, its PostgreSQL and its files.

A run has a directory (``tests/database.py``) and its processes have the directory's path in their environment. This
program is started beside the run and waits until the run closes its standard input, or dies::

    python tests/watchdog.py DIRECTORY

Run by itself, it uses the standard library alone. What even a killed watchdog leaves, the next run removes.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

PREFIX = "sg-tests-"
SHARED_DIR = "SG_TEST_SHARED_DIR"
# Locked for as long as the run lives.
_LOCK = "alive"
_CLUSTERS = ("data", "postgres", "cluster")
_PROC = Path("/proc")
_STOP_SECONDS = 1.0
_GONE = ""
_ENDED = (_GONE, "Z", "X")


def watch(shared: Path) -> "tuple[int, subprocess.Popen[bytes]]":
    """Mark the directory as in use, and start its watchdog: the lock and the process, for ``dismiss``."""
    lock = os.open(shared / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Without the path in its environment, and in a session of its own: what ends the run must not end it.
    environment = {name: value for name, value in os.environ.items() if name != SHARED_DIR}
    command = [sys.executable, "-I", "-S", __file__, str(shared)]
    return lock, subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )


def dismiss(lock: int, watchdog: "subprocess.Popen[bytes]") -> None:
    """After the directory has been removed: end the watchdog."""
    os.close(lock)
    if watchdog.stdin is not None:
        watchdog.stdin.close()
    watchdog.wait()


def remove_leftovers(places: Iterable[Path]) -> None:
    """Remove the directories of runs that have died, with what still runs in them."""
    for place in places:
        for shared in place.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                lock = os.open(shared / _LOCK, os.O_RDWR)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    end(shared)
                finally:
                    os.close(lock)


def end(shared: Path) -> None:
    """Stop the processes of a run and remove its directory."""
    _kill(_marked(shared))
    _stop(_servers(shared))
    # What was started between looking and killing.
    _kill({*_marked(shared), *_servers(shared)})
    for _ in range(10):
        # A process that is about to end may still write.
        shutil.rmtree(shared, ignore_errors=True)
        if not shared.exists():
            return


def _stop(servers: set[int]) -> None:
    """PostgreSQL removes its shared memory at an immediate shutdown, and not if it is killed."""
    for server in servers:
        with contextlib.suppress(OSError):
            os.kill(server, signal.SIGQUIT)
    deadline = time.monotonic() + _STOP_SECONDS
    while any(_status(server)[0] not in _ENDED for server in servers) and time.monotonic() < deadline:
        time.sleep(0.02)


def _kill(roots: set[int]) -> None:
    children = _children()
    doomed, waiting = set(), list(roots)
    while waiting:
        process = waiting.pop()
        if process not in doomed and process not in (1, os.getpid()):
            doomed.add(process)
            waiting += children.get(process, ())
    for process in doomed:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)


def _marked(shared: Path) -> set[int]:
    """The processes that have the directory in their environment."""
    mark = f"{SHARED_DIR}={shared}".encode()
    found = set()
    for process in _processes():
        with contextlib.suppress(OSError):
            if mark in (_PROC / str(process) / "environ").read_bytes().split(b"\0"):
                found.add(process)
    return found


def _servers(shared: Path) -> set[int]:
    """The embedded PostgreSQL: its environment is its own. Its first line of ``postmaster.pid`` is its process."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        process = int(shared.joinpath(*_CLUSTERS, "postmaster.pid").read_text().splitlines()[0])
        if (_PROC / str(process) / "cwd").readlink().is_relative_to(shared):
            return {process}
    return set()


def _processes() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()] if _PROC.exists() else []


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for process in _processes():
        found.setdefault(_status(process)[1], []).append(process)
    return found


def _status(process: int) -> tuple[str, int]:
    """The state of a process, and its parent."""
    with contextlib.suppress(OSError):
        # They follow the name, which is in parentheses and may have any character.
        state, parent, *_ = (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
        return state, int(parent)
    return _GONE, 0


def main(shared: Path) -> None:
    """Wait for the end of the run, then remove what it left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    if shared.exists():
        end(shared)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
