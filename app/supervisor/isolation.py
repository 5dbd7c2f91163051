"""What stands between two commands, and between a command and us: users, homes, limits and an environment.

As root, each process runs as a user id that no other process has, out of a range that no distribution gives to anybody.
Such processes can neither read, trace nor signal each other, and all that one of them left behind is killed by its
user. As an ordinary user there is one user for all, ours.
"""

import contextlib
import fcntl
import os
import pwd
import resource
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.kit.stdio.wire import Launch
from app.supervisor.limits import Limits
from app.supervisor.processes import die_with, gain_nothing

FREE_USERS = range(60706, 61184)
"""Systemd's list of user ids calls these unused; Debian's policy gives them to nobody unasked."""
_CLAIMS = Path("/run/scopegate-stdio")
_SHARED = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108
"""Where anybody may leave something."""
_NICE = 5
"""The gateway goes first where there is too little processor for all."""
_PATH = "/usr/local/bin:/usr/bin:/bin"


class NoPlace(Exception):
    """No user id is free, or no directory can be made."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one process runs: its home, and the user that it alone is; ``None`` for ours."""

    home: Path
    uid: int | None = None
    claim: int | None = None
    """A locked file, so that two supervisors of one machine never share a user id."""

    def environment(self, launch: Launch) -> dict[str, str]:
        """Everything that the program finds in its environment."""
        beside = str(Path(launch.command).parent)
        return {
            "PATH": f"{beside}:{_PATH}",
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "LANG": "C.UTF-8",
            **dict(launch.variables),
        }

    def identity(self) -> dict[str, Any]:
        """How ``subprocess`` is told whom to run it as."""
        return {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": []}


class Isolation:
    """Hands out places and takes them back."""

    def __init__(
        self, base: Path, users: range | None, claims: Path = _CLAIMS, *, adopts: bool = False
    ) -> None:
        """``base``: an empty directory of ours, that other users may pass through. ``users`` None: all run as us.

        ``adopts``: whoever is a child of this process without having been started by it was left by a program.
        """
        self.adopts = adopts
        self._base = base
        self._users = users
        self._claims = claims
        self._next = 0
        if users is not None:
            claims.mkdir(mode=0o700, exist_ok=True)

    def place(self) -> Place:
        """A new one. Raises ``NoPlace``."""
        uid = claim = None
        if self._users is not None:
            uid, claim = self._claim(self._users)
        home = self._base / secrets.token_hex(8)
        try:
            for path in (home, home / "tmp"):
                path.mkdir(mode=0o700)
                if uid is not None:
                    os.chown(path, uid, uid)
        except OSError as error:
            raise NoPlace("No directory can be made for the program.") from error
        return Place(home, uid, claim)

    def _claim(self, users: range) -> tuple[int, int]:
        # In turns, so that a user id rests as long as can be before another process has it.
        self._next = (self._next + 1) % len(users)
        for uid in (*users[self._next :], *users[: self._next]):
            with contextlib.suppress(KeyError):
                pwd.getpwuid(uid)
                continue
            claim = os.open(self._claims / str(uid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(claim)
                continue
            self._next = users.index(uid)
            return uid, claim
        raise NoPlace("No user id is free for the program.")

    def removing(self, place: Place) -> list[tuple[list[str], dict[str, Any]]]:
        """What removes all that a process left, whose user another may have some day; and whom to run it as."""
        commands: list[tuple[list[str], dict[str, Any]]] = [(["/bin/rm", "-rf", "--", str(place.home)], {})]
        if place.uid is not None:
            # As the user itself, who can remove nothing but what is its own.
            mine = ["-xdev", "-mindepth", "1", "-maxdepth", "1", "-uid", str(place.uid)]
            remove = ["-exec", "/bin/rm", "-rf", "--", "{}", "+"]
            commands.append((["/usr/bin/find", *_SHARED, *mine, *remove], place.identity()))
        return commands

    def give_back(self, place: Place) -> None:
        """Its process has ended and its home is gone: another may have the user."""
        if place.claim is not None:
            os.close(place.claim)


def first_in_child(limits: Limits, *, alone: bool) -> Callable[[], None]:
    """What a child does before it becomes the program. ``alone``: its user has no other processes."""
    parent = os.getpid()
    caps = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, limits.memory),
        (resource.RLIMIT_FSIZE, limits.file_size),
        (resource.RLIMIT_NOFILE, limits.files),
    ]
    if alone:
        caps.append((resource.RLIMIT_NPROC, limits.children))

    def prepare() -> None:
        die_with(parent)
        gain_nothing()
        os.nice(_NICE)
        os.umask(0o077)
        for kind, most in caps:
            hard = resource.getrlimit(kind)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)  # noqa: PLW2901
            resource.setrlimit(kind, (most, most))

    return prepare
