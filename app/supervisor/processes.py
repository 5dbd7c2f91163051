"""Finding and killing processes with data from the kernel."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_ROUNDS = 100

_libc = ctypes.CDLL(None)


def adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs (prctl(2))."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def hide_from_equals() -> None:
    """Keep processes of the same user from reading our memory and environment."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def die_with(parent: int, farewell: signal.Signals = signal.SIGKILL) -> None:
    """For a child, before it runs: receive ``farewell`` when the parent's thread ends for any reason."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(farewell), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # The parent died between the fork and the previous statement.


def gain_nothing() -> None:
    """For a child, before it runs: no set-user-id program gives it privileges."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Seen:
    """A running process: not a zombie."""

    pid: int
    parent: int
    session: int


def _list_processes() -> Iterator[Seen]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name, in parentheses, may contain anything; the third field of proc_pid_stat(5) follows it.
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            if fields[0] not in {b"Z", b"X"}:
                yield Seen(int(entry.name), int(fields[1]), int(fields[3]))


def descendants(of: int, session: int | None = None) -> list[Seen]:
    """List all descendants of a process, in any process group, and the members of a session."""
    children: dict[int, list[Seen]] = {}
    members: dict[int, Seen] = {}
    for seen in _list_processes():
        children.setdefault(seen.parent, []).append(seen)
        if seen.session == session and seen.pid != of:
            members[seen.pid] = seen
    waiting = [of, *members]
    while waiting:
        below = children.get(waiting.pop(), [])
        waiting += [seen.pid for seen in below if seen.pid not in members]
        members |= {seen.pid: seen for seen in below}
    return list(members.values())


def kill(pid: int) -> None:
    """Send SIGKILL to a process, if it exists."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def kill_below(pid: int) -> None:
    """Kill all descendants of a process until none is left, even if it forks fast."""
    for _ in range(_ROUNDS):
        below = descendants(pid)
        if not below:
            return
        for seen in below:
            kill(seen.pid)
        reap_orphans(frozenset())


def kill_session(leader: int) -> None:
    """Kill the leader of a session, its members, and their descendants."""
    for _ in range(_ROUNDS):
        below = descendants(leader, session=leader)
        kill(leader)
        for seen in below:
            kill(seen.pid)
        if not below:
            return


def kill_user(uid: int) -> None:
    """Kill every process of a user at once, which no fork can escape (kill(2), pid -1)."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def kill_orphans(ours: Collection[int]) -> None:
    """Kill adopted processes: those without a living parent or session of ours (``ours``: leaders)."""
    mine = os.getpid()
    for seen in _list_processes():
        if seen.parent == mine and seen.pid not in ours and seen.session not in ours:
            kill_session(seen.pid)
    reap_orphans(ours)


def reap_orphans(ours: Collection[int]) -> None:
    """Reap adopted processes; our own children are reaped by the code that waits for them."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in ours:
            continue
        with contextlib.suppress(OSError, ValueError, IndexError, ChildProcessError):
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            if fields[0] == b"Z" and int(fields[1]) == os.getpid():
                os.waitpid(int(entry.name), os.WNOHANG)
