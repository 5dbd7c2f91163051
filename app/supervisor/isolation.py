"""What stands between the programs of two servers, and between a program and us: users, directories, limits and an
environment.

As root, the programs of a server run as a user id that those of no other server have. Programs of two servers can
neither read, trace nor signal each other. As an ordinary user there is one user for all, ours.

The data directory of each server, kept between its processes, and the user id that owns it and runs them.

As root, a server keeps its user id as long as its directory exists: the owner of the directory is the record of it. A
user id whose server was deleted is used again only when all others have been used, the longest unused one first.
"""

import contextlib
import fcntl
import os
import pwd
import resource
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from app.lib.ids import SERVER, format_id, parse_id
from app.outbound.stdio.wire import Launch
from app.supervisor.limits import Limits
from app.supervisor.processes import die_with, gain_nothing

FREE_USERS = range(60706, 61184)
"""Systemd's list of user ids calls these unused; Debian's policy gives them out only on request."""
_CLAIMS = Path("/run/scopegate-stdio")
_RETIRED = ".retired"


class NoPlace(Exception):
    """No user id is free, or no directory can be made."""


class DataDirectories:
    """Makes, finds and retires them. Close it at the end."""

    def __init__(self, root: Path, users: range | None, claims: Path = _CLAIMS) -> None:
        """``users`` None: all programs run as our own user, who owns all directories."""
        self.users = users
        self._root = root
        self._claims = claims
        self._claimed: dict[int, int] = {}
        """Locked files by user id, so that two supervisors of one host never share one."""
        self._first = secrets.randbelow(len(users)) if users is not None else 0

    def close(self) -> None:
        """Let other supervisors of this host have the user ids."""
        for claim in self._claimed.values():
            os.close(claim)
        self._claimed.clear()

    def of(self, server_id: UUID) -> tuple[Path, int | None]:
        """The directory of a server, made if need be, and its user id; None for ours. Raises ``NoPlace``."""
        path = self._path(server_id)
        try:
            if self.users is None:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                return path, None
            with self._locked():
                return path, self._owner(path, self.users)
        except OSError as error:
            raise NoPlace("No data directory can be made for the program.") from error

    def known(self) -> list[UUID]:
        """The servers that have one."""
        found = []
        with contextlib.suppress(OSError):
            for entry in self._root.iterdir():
                with contextlib.suppress(ValueError):
                    found.append(parse_id(SERVER, entry.name))
        return found

    def retire(self, server_id: UUID) -> tuple[Path, int | None]:
        """Note that the server was deleted; the caller removes the directory, until which its user id is not free."""
        path = self._path(server_id)
        if self.users is None:
            return path, None
        with self._locked():
            uid = path.lstat().st_uid
            if uid not in self.users:
                return path, None
            retired = self._root / _RETIRED
            retired.mkdir(mode=0o700, exist_ok=True)
            (retired / str(uid)).touch()
        return path, uid

    def _path(self, server_id: UUID) -> Path:
        return self._root / format_id(SERVER, server_id)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one supervisor of the host gives out user ids at a time."""
        self._root.mkdir(mode=0o711, parents=True, exist_ok=True)
        root = self._root.lstat()
        if root.st_uid != os.geteuid() or root.st_mode & 0o022:
            raise NoPlace("The directory for the data of programs can be changed by other users.")
        # The umask may have closed it: programs pass through, each to a directory of its own.
        self._root.chmod(0o711)
        # Programs can pass through, and one that opened the file could hold the lock.
        lock = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _owner(self, path: Path, users: range) -> int:
        """The user id of a server, chosen when it has none yet."""
        path.mkdir(mode=0o700, exist_ok=True)
        uid: int = path.lstat().st_uid
        if uid in users:
            if not self._claim(uid):
                raise NoPlace("The user id of this server is in use by another service of this host.")
            return uid
        if any(path.iterdir()):
            raise NoPlace("The data directory of this server belongs to another user.")
        chosen = self._choose(users)
        os.chown(path, chosen, chosen, follow_symlinks=False)
        return chosen

    def _choose(self, users: range) -> int:
        """A user id that no server of this host has, if possible one that none ever had."""
        owners = {entry.lstat().st_uid for entry in self._root.iterdir()}
        retired = self._root / _RETIRED
        since = {int(entry.name): entry.stat().st_mtime for entry in retired.glob("*")}
        turn: list[int] = [*users[self._first :], *users[: self._first]]
        for uid in sorted(turn, key=lambda each: since.get(each, 0.0)):
            if uid not in owners and not _is_account(uid) and self._claim(uid):
                return uid
        raise NoPlace("No user id is free for the program.")

    def _claim(self, uid: int) -> bool:
        if uid in self._claimed:
            return True
        self._claims.mkdir(mode=0o700, exist_ok=True)
        claim = os.open(self._claims / str(uid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(claim)
            return False
        self._claimed[uid] = claim
        return True


def _is_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


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
