"""Child processes on a core of their own, and how much CPU time processes have used. Linux."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


class CannotMeasure(Exception):
    """The benchmark cannot go on; one message that says why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Where things run: the system under test alone, and everything else."""

    system: int
    rest: int

    @property
    def shared(self) -> bool:
        """Whether there is only one core, so that the figures say little."""
        return self.system == self.rest


def choose_cores() -> Cores:
    """The first core that we may use for the system under test, the second for the rest."""
    mine = sorted(os.sched_getaffinity(0))
    return Cores(mine[0], mine[min(1, len(mine) - 1)])


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def child(
    arguments: Sequence[str], port: int, core: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run ``python <arguments>`` pinned to ``core`` until the end of the block; its process id, once it listens.

    Raises ``CannotMeasure`` with the end of its log when it does not come up.
    """
    command = [sys.executable, *arguments]
    # A child begins on the cores of whoever starts it.
    with log.open("wb") as output, _pinned(core):
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_listening(process, command, port, log)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _pinned(core: int) -> Iterator[None]:
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def _wait_until_listening(
    process: "subprocess.Popen[bytes]", command: Sequence[str], port: int, log: Path
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise CannotMeasure(f"{' '.join(command)} did not come up:\n{tail(log)}")


def tail(log: Path) -> str:
    """The last lines that a child wrote."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-30:])


def cpu_seconds(pid: int) -> float:
    """CPU time of a whole process, all threads, user and system, to the nanosecond.

    This is ``clock_getcpuclockid(3)``, whose encoding Linux keeps stable; ``/proc/<pid>/stat`` counts in ticks of
    10 ms, too coarse for half a second of one caller.
    """
    per_process_scheduler_clock = (~pid << 3) | 2
    return time.clock_gettime(per_process_scheduler_clock)


def children_cpu_seconds(parent: int) -> dict[int, float]:
    """CPU time of each direct child of a process, by its id."""
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _parent_of(int(entry.name)) == parent:
            with contextlib.suppress(OSError):
                used[int(entry.name)] = cpu_seconds(int(entry.name))
    return used


def parent_of(pid: int) -> int:
    """The parent's id. Raises ``CannotMeasure`` when there is no such process."""
    found = _parent_of(pid)
    if found is None:
        raise CannotMeasure(f"process {pid} is gone")
    return found


def _parent_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name stands in brackets and may hold anything; the fields after it are fixed.
    return int(stat.rpartition(")")[2].split()[1])
