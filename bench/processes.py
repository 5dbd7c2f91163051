"""Child processes on dedicated cores, and the CPU time, memory and open files of processes. Linux only."""

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
"""Some of the peers create a database first."""
_STOP_SECONDS = 10.0


class CannotMeasure(Exception):
    """The benchmark cannot continue; the message says why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores of the system under test, and of everything else."""

    system: int
    rest: int
    pair: frozenset[int]
    """The cores of two workers. With at least four cores, nothing else runs there."""
    others: frozenset[int]
    """The remaining cores while two workers are measured."""

    @property
    def shared(self) -> bool:
        """Whether there is only one core, so that the figures are not meaningful."""
        return self.system == self.rest


def choose_cores() -> Cores:
    """Choose the first allowed core for the system under test, the second for the rest."""
    return divide_cores(os.sched_getaffinity(0))


def divide_cores(allowed: Collection[int]) -> Cores:
    """Divide the allowed cores."""
    mine = sorted(allowed)
    system, rest = mine[0], mine[min(1, len(mine) - 1)]
    pair = {system, mine[2] if len(mine) >= 4 else rest}
    return Cores(system, rest, frozenset(pair), frozenset(mine) - pair or frozenset({rest}))


@dataclass(frozen=True, slots=True)
class Running:
    """A listening process. ``log`` is its output."""

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

    ``environment`` and ``directory`` default to those of this process. Raises ``CannotMeasure`` with the end of its log
    if it does not start.
    """
    words = [str(part) for part in command]
    # A child inherits the cores of its parent.
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
    raise CannotMeasure(f"{' '.join(command)} did not start:\n{tail(log)}")


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-30:])


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, for all threads, user and system, in seconds.

    This is ``clock_getcpuclockid(3)``, whose encoding Linux keeps stable; ``/proc/<pid>/stat`` counts in ticks of
    10 ms, too coarse for half a second of one caller.
    """
    per_process_scheduler_clock = (~pid << 3) | 2
    return time.clock_gettime(per_process_scheduler_clock)


def memory_bytes(pid: int) -> int:
    """Return the private anonymous memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise CannotMeasure("this kernel does not report a process's anonymous memory")


def open_files(pid: int) -> int:
    """Return the number of open files and sockets of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def children_cpu_seconds(parent: int) -> dict[int, float]:
    """Return the CPU time of each direct child of a process, by its id."""
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _parent_pid(int(entry.name)) == parent:
            with contextlib.suppress(OSError):
                used[int(entry.name)] = cpu_seconds(int(entry.name))
    return used


def parent_pid(pid: int) -> int:
    """Return the parent's id. Raises ``CannotMeasure`` if there is no such process."""
    found = _parent_pid(pid)
    if found is None:
        raise CannotMeasure(f"process {pid} is gone")
    return found


def _parent_pid(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name is in parentheses and may contain any character; the fields after it are fixed.
    return int(stat.rpartition(")")[2].split()[1])
