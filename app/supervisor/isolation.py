"""What stands between the programs of two servers, and between a program and us: users, directories, limits and an
environment.

As root, the programs of a server run as a user id that those of no other server have. Programs of two servers can
neither read, trace nor signal each other. As an ordinary user there is one user for all, ours.
"""

import os
import resource
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from app.outbound.stdio.wire import Launch
from app.supervisor.data_directories import DataDirectories, NoPlace
from app.supervisor.limits import Limits
from app.supervisor.processes import die_with, gain_nothing

_SHARED = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108
"""Where every user may leave files."""
_NICE = 5
"""The gateway goes first where there is too little processor for all."""
_PATH = "/usr/local/bin:/usr/bin:/bin"

Removal = tuple[list[str], dict[str, Any]]
"""A command that removes files, and whom to run it as."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one process runs: a home of its own, the data directory and the user of its server; None for ours."""

    home: Path
    data: Path
    uid: int | None = None

    def environment(self, launch: Launch) -> dict[str, str]:
        """Everything that the program finds in its environment."""
        beside = str(Path(launch.command).parent)
        return {
            "PATH": f"{beside}:{_PATH}",
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "LANG": "C.UTF-8",
            "STATE_DIRECTORY": str(self.data),
            "XDG_DATA_HOME": str(self.data),
            **dict(launch.variables),
        }

    def identity(self) -> dict[str, Any]:
        """How ``subprocess`` is told whom to run it as."""
        return _identity(self.uid)


class Isolation:
    """Hands out places and takes them back."""

    def __init__(self, base: Path, data: DataDirectories, *, adopts: bool = False) -> None:
        """``base``: an empty directory of ours, that other users may pass through.

        ``adopts``: whoever is a child of this process without having been started by it was left by a program.
        """
        self.adopts = adopts
        self.data = data
        self._base = base
        self._running: Counter[int | None] = Counter()
        """Places in use, by user id."""

    def place(self, server_id: UUID) -> Place:
        """A place for a process of this server. Raises ``NoPlace``."""
        data, uid = self.data.of(server_id)
        home = self._base / secrets.token_hex(8)
        try:
            for path in (home, home / "tmp"):
                path.mkdir(mode=0o700)
                if uid is not None:
                    os.chown(path, uid, uid)
        except OSError as error:
            raise NoPlace("No directory can be made for the program.") from error
        self._running[uid] += 1
        return Place(home, data, uid)

    def is_alone(self, place: Place) -> bool:
        """Whether no other process of its user runs: all that the user has may be killed."""
        return place.uid is not None and self._running[place.uid] == 1

    def give_back(self, place: Place) -> bool:
        """Its process has ended and its home is removed; whether it was the last of a user of its own."""
        last = self.is_alone(place)
        self._running[place.uid] -= 1
        return last

    def removing_home(self, place: Place) -> Removal:
        """What removes the home of a process that has ended."""
        return ["/bin/rm", "-rf", "--", str(place.home)], {}

    def removing_shared(self, uid: int) -> Removal:
        """What removes all that a user has left until now where every user may leave files."""
        # As the user itself, who can remove nothing but what is its own. A process that starts now keeps its files.
        mine = ["-xdev", "-mindepth", "1", "-maxdepth", "1", "-uid", str(uid)]
        before = ["!", "-newerct", f"@{time.time():.6f}"]
        remove = ["-exec", "/bin/rm", "-rf", "--", "{}", "+"]
        return ["/usr/bin/find", *_SHARED, *mine, *before, *remove], _identity(uid)


def _identity(uid: int | None) -> dict[str, Any]:
    return {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}


def first_in_child(limits: Limits, *, own_user: bool) -> Callable[[], None]:
    """What a child does before it becomes the program. ``own_user``: its server has a user of its own."""
    parent = os.getpid()
    caps = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, limits.memory),
        (resource.RLIMIT_FSIZE, limits.file_size),
        (resource.RLIMIT_NOFILE, limits.files),
    ]
    if own_user:
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
