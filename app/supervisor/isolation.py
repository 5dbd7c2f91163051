"""Isolation of programs from each other and from the service: users, directories, limits and environment variables.

As root, each server has a user id of its own, so that the programs of two servers can neither read, trace nor signal
each other. Without root, all programs run as the user of the service.

The data directory of a server is kept between its processes, and belongs to the user id that runs them.

As root, a server keeps its user id as long as its directory exists: the owner of the directory is the record. The
user id of a deleted server is reused only after all others, the one that is unused for the longest time first.
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
from app.outbound.stdio import Launch
from app.supervisor.processes import die_with, gain_nothing


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one host, with sizes in bytes and times in seconds."""

    processes: int = 64
    """The maximum of concurrent sessions. A server may have half of them, an identity a quarter, a token an eighth."""
    starts_a_minute: int = 60
    """The maximum of starts by one identity."""

    start: float = 30.0
    """The time from starting a program to its first response."""
    idle: float = 600.0
    """The time without a request or a stream."""
    idle_sync: float = 5.0
    grace: float = 2.0
    """The time from asking a program to end until it is killed."""
    lease: float = 10.0
    """The time after which a silent worker has no sessions any more."""
    cancelled: float = 5.0
    """How long a program may take to answer a cancelled request."""
    evict: float = 30.0
    """How long a session must be idle to be replaced by another of the same token."""

    line: int = 16 * 1024 * 1024
    """The size of a program's message."""
    unread_output: int = 1024 * 1024
    """The size of pending output at which a program is paused."""
    unread_input: int = 4 * 1024 * 1024
    """The size of unread input at which a program is ended."""
    stray_lines: int = 1000
    """The number of invalid lines within ``stray_lines_window_s`` seconds that ends the program."""
    stray_lines_window_s: float = 10.0

    memory: int = 2 * 1024 * 1024 * 1024
    """The data size of one process."""
    file_size: int = 1024 * 1024 * 1024
    files: int = 1024
    children: int = 1024
    """Processes and threads of one server with a user of its own."""

    def of_server(self) -> int:
        """The maximum number of sessions of a server."""
        return max(1, self.processes // 2)

    def of_identity(self) -> int:
        """The maximum number of sessions of an identity."""
        return max(1, self.processes // 4)

    def of_token(self) -> int:
        """The maximum number of sessions of a token."""
        return max(1, self.processes // 8)


INTERNAL_ERROR = -32603
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
ENDED = "The program of this server ended before it answered."
"""The error for requests that wait when a program ends."""


class Refused(Exception):
    """A refused request; becomes a JSON-RPC error. ``retry_after`` is in seconds."""

    def __init__(
        self, status: int, message: str, *, code: int = INTERNAL_ERROR, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.retry_after = retry_after


def no_such_session() -> Refused:
    """An unknown session: of another token, ended, or nonexistent."""
    return Refused(404, "The session does not exist. Initialize a new one.", code=INVALID_REQUEST)


def too_many(whose: str, what: str = "sessions with commands") -> Refused:
    """A limit is exceeded."""
    return Refused(429, f"{whose} has too many {what} open. Close one, or try later.", retry_after=5)


FREE_USERS = range(60706, 61184)
"""Systemd's list of user ids calls these unused; Debian's policy gives them out only on request."""
_CLAIMS = Path("/run/scopegate-stdio")
_RETIRED = ".retired"


class NoPlace(Exception):
    """No user id is free, or no directory can be created."""


class DataDirectories:
    """Creates, finds and retires data directories. Close it at the end."""

    def __init__(self, root: Path, users: range | None, claims: Path = _CLAIMS) -> None:
        """``users`` None: all programs run as our own user, which owns all directories."""
        self.users = users
        self._root = root
        self._claims = claims
        self._claimed: dict[int, int] = {}
        """Locked files by user id, so that two supervisors of a host never share one."""
        self._first = secrets.randbelow(len(users)) if users is not None else 0

    def close(self) -> None:
        """Release the user ids to other supervisors of this host."""
        for claim in self._claimed.values():
            os.close(claim)
        self._claimed.clear()

    def of(self, server_id: UUID) -> tuple[Path, int | None]:
        """Return the directory of a server, created if needed, and its user id; None for ours. Raises ``NoPlace``."""
        path = self._path(server_id)
        try:
            if self.users is None:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                return path, None
            with self._locked():
                return path, self._owner(path, self.users)
        except OSError as error:
            raise NoPlace("The program's data directory cannot be created.") from error

    def known(self) -> list[UUID]:
        """The servers that have a directory."""
        server_ids = []
        with contextlib.suppress(OSError):
            for entry in self._root.iterdir():
                with contextlib.suppress(ValueError):
                    server_ids.append(parse_id(SERVER, entry.name))
        return server_ids

    def retire(self, server_id: UUID) -> tuple[Path, int | None]:
        """Record that the server was deleted; the user id stays in use until the caller removes the directory."""
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
        """Allow only one supervisor of the host at a time to assign user ids."""
        self._root.mkdir(mode=0o711, parents=True, exist_ok=True)
        root = self._root.lstat()
        if root.st_uid != os.geteuid() or root.st_mode & 0o022:
            raise NoPlace("The directory for the data of programs can be changed by other users.")
        # Regardless of the umask: programs must reach their own directories in it.
        self._root.chmod(0o711)
        # Programs can enter the directory; one that opened the file could hold the lock.
        lock = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _owner(self, path: Path, users: range) -> int:
        """The user id of a server, assigned if it has none yet."""
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
        """Choose a user id that no server of this host has, preferably an unused one."""
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
"""The directories in which every user can create files."""
_NICE = 5
"""The gateway has priority if the CPU is busy."""
_PATH = "/usr/local/bin:/usr/bin:/bin"
Removal = tuple[list[str], dict[str, Any]]
"""A command that removes files, and the user that runs it."""


@dataclass(frozen=True, slots=True)
class Place:
    """The environment of one process: its home, and the data directory and user of its server; None for ours."""

    home: Path
    data: Path
    uid: int | None = None

    def environment(self, launch: Launch) -> dict[str, str]:
        """All environment variables of the program."""
        programs = str(Path(launch.command).parent)
        return {
            "PATH": f"{programs}:{_PATH}",
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "LANG": "C.UTF-8",
            "STATE_DIRECTORY": str(self.data),
            "XDG_DATA_HOME": str(self.data),
            **dict(launch.variables),
        }

    def identity(self) -> dict[str, Any]:
        """The arguments for ``subprocess`` that select the user."""
        return _identity(self.uid)


class Isolation:
    """Assigns places and releases them."""

    def __init__(self, base: Path, data: DataDirectories, *, adopts: bool = False) -> None:
        """``base``: an empty directory of ours that other users can enter.

        ``adopts``: children of this process that it did not start are processes that a program left.
        """
        self.adopts = adopts
        self.data = data
        self._base = base
        self._running: Counter[int | None] = Counter()
        """Places in use, by user id."""

    def place(self, server_id: UUID) -> Place:
        """Assign a place for a process of this server. Raises ``NoPlace``."""
        data, uid = self.data.of(server_id)
        home = self._base / secrets.token_hex(8)
        try:
            for path in (home, home / "tmp"):
                path.mkdir(mode=0o700)
                if uid is not None:
                    os.chown(path, uid, uid)
        except OSError as error:
            raise NoPlace("The program's directory cannot be created.") from error
        self._running[uid] += 1
        return Place(home, data, uid)

    def is_alone(self, place: Place) -> bool:
        """Whether no other process of the user runs, so that all of its processes may be killed."""
        return place.uid is not None and self._running[place.uid] == 1

    def release(self, place: Place) -> bool:
        """Release the place of an ended process without a home; return whether its user has no other process."""
        last = self.is_alone(place)
        self._running[place.uid] -= 1
        return last

    def shared_removal(self, uid: int) -> Removal:
        """The command that removes the user's files in shared directories."""
        # Run as the user, so that it can only remove the user's files. A process that starts now keeps its files.
        mine = ["-xdev", "-mindepth", "1", "-maxdepth", "1", "-uid", str(uid)]
        before = ["!", "-newerct", f"@{time.time():.6f}"]  # noqa: TID251 - that of the file system
        remove = ["-exec", "/bin/rm", "-rf", "--", "{}", "+"]
        return ["/usr/bin/find", *_SHARED, *mine, *before, *remove], _identity(uid)


def _identity(uid: int | None) -> dict[str, Any]:
    return {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}


def first_in_child(limits: Limits, *, own_user: bool) -> Callable[[], None]:
    """The setup of a child before it runs the program. ``own_user``: its server has a user of its own."""
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
