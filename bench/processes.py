"""Child processes on cores of their own, and what processes have used of CPU, memory and files. Linux."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_START_SECONDS = 90.0
"""Some of the peers make a database first."""
_STOP_SECONDS = 10.0


class CannotMeasure(Exception):
    """The benchmark cannot go on; one message that says why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Where things run: the system under test alone, and everything else."""

    system: int
    rest: int
    pair: frozenset[int]
    """What two workers share. With four cores or more nothing else runs there."""
    others: frozenset[int]
    """What is left to everything else while two workers are measured."""

    @property
    def shared(self) -> bool:
        """Whether there is only one core, so that the figures say little."""
        return self.system == self.rest


def choose_cores() -> Cores:
    """The first core that we may use for the system under test, the second for the rest."""
    return divide_cores(os.sched_getaffinity(0))


def divide_cores(allowed: Collection[int]) -> Cores:
    """Who gets which of the cores that are allowed."""
    mine = sorted(allowed)
    system, rest = mine[0], mine[min(1, len(mine) - 1)]
    pair = {system, mine[2] if len(mine) >= 4 else rest}
    return Cores(system, rest, frozenset(pair), frozenset(mine) - pair or frozenset({rest}))


@dataclass(frozen=True, slots=True)
class Running:
    """A process that listens. ``log`` is what it wrote."""

    port: int
    pid: int
    log: Path


def python(*arguments: str) -> list[str]:
    """The command that runs this interpreter."""
    return [sys.executable, *arguments]


@contextlib.contextmanager
def child(
    command: Sequence[str | Path],
    port: int,
    cores: Collection[int],
    log: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Iterator[Running]:
    """Run a program pinned to ``cores`` until the end of the block; yields once it listens on ``port``.

    ``environment`` and ``directory`` are ours unless given. Raises ``CannotMeasure`` with
    the end of its log when it does not come up.
    """
    words = [str(part) for part in command]
    # A child begins on the cores of whoever starts it.
    with log.open("wb") as output, _pinned(cores):
        process = subprocess.Popen(
            words,
            cwd=directory,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_listening(process, words, port, log)
        yield Running(port, process.pid, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _pinned(cores: Collection[int]) -> Iterator[None]:
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
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


def memory_bytes(pid: int) -> int:
    """The memory of a process that is its own: no file, and no page that it shares."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise CannotMeasure("this kernel does not tell a process's anonymous memory")


def open_files(pid: int) -> int:
    """How many files and sockets a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def children_cpu_seconds(parent: int) -> dict[int, float]:
    """CPU time of each direct child of a process, by its id."""
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _parent_pid(int(entry.name)) == parent:
            with contextlib.suppress(OSError):
                used[int(entry.name)] = cpu_seconds(int(entry.name))
    return used


def parent_pid(pid: int) -> int:
    """The parent's id. Raises ``CannotMeasure`` when there is no such process."""
    found = _parent_pid(pid)
    if found is None:
        raise CannotMeasure(f"process {pid} is gone")
    return found


def _parent_pid(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name stands in brackets and may hold anything; the fields after it are fixed.
    return int(stat.rpartition(")")[2].split()[1])
