"""The data directory of each server, kept between its processes, and the user id that owns it and runs them.

As root, a server keeps its user id as long as its directory exists: the owner of the directory is the record of it. A
user id whose server was deleted is used again only when all others have been used, the longest unused one first.
"""

import contextlib
import fcntl
import os
import pwd
import secrets
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from app.lib.ids import SERVER, format_id, parse_id

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
