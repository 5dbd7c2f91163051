"""Embedded PostgreSQL: a real cluster for one data directory, from the wheel of the ``embedded`` extra.

Only the wheel's programs (``initdb``, ``pg_ctl``, ``postgres``) are used, not its Python interface; why is
written in ``docs/adr/0002-embedded-postgresql.md``. The cluster listens on a Unix socket in a directory
that its own user (and root) alone can enter, which is the whole of its access control.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

from app.db.postgres_placement import (
    EmbeddedPostgresError,
    RunAs,
    cluster_home,
    programs,
    run_as,
    run_as_owner_of,
    socket_dir,
)

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

SUPERUSER = "postgres"
_PORT = 5432
_START_SECONDS = 60.0
_STOP_SECONDS = 30
_LARGEST_LOG = 8 * 1024 * 1024

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(_PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "fsync": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # The log must hold no row and no parameter: a statement or a DETAIL line can carry either.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """The cluster of one data directory, started on demand and stopped by whoever started it.

    Several processes may hold an ``EmbeddedPostgres`` on one data directory. The first to start it owns
    it; the others use the running one and leave it alone. A server left over by a killed owner is adopted
    by the next to start, who owns it from then on. All methods block: call them off the event loop.
    """

    def __init__(self, data_dir: Path, *, extra_settings: Mapping[str, str] | None = None) -> None:
        """``extra_settings`` are lines of ``postgresql.conf`` over the defaults here."""
        self._data_dir = data_dir.absolute()
        self._settings = {**_SETTINGS, **(extra_settings or {})}
        self._user = RunAs()
        self._home: Path | None = None
        self._socket_dir: Path | None = None
        self._owner_lock: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def owns(self) -> bool:
        """Whether ``stop`` of this object will stop the server."""
        return self._owner_lock is not None

    def start(self) -> None:
        """Make the cluster if there is none, and return when it takes connections.

        Raises:
            EmbeddedPostgresError: it cannot be made or started; one line says why.
        """
        if self._socket_dir is not None:
            return
        try:
            # Root lets the system user pass through to the cluster; what else lies here guards itself (0600).
            self._data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            with self._starting_or_stopping():
                self._home = cluster_home(self._data_dir, run_as())
                self._user = run_as_owner_of(self._home)
                self._create_cluster()
                self._socket_dir = self._adopt_or_launch()
                self._owner_lock = self._claim()
        except OSError as error:
            where, why = error.filename or self._data_dir, error.strerror or error
            raise EmbeddedPostgresError(f"embedded PostgreSQL cannot use {where}: {why}") from error

    def stop(self) -> None:
        """Stop the server if this object owns it; calling it again does nothing."""
        taken, self._socket_dir = self._socket_dir, None
        lock, self._owner_lock = self._owner_lock, None
        if taken is None or lock is None:
            return
        try:
            with self._starting_or_stopping():
                self._shut_down()
                if taken.parent != self._cluster_home:
                    shutil.rmtree(taken, ignore_errors=True)
        finally:
            os.close(lock)

    def url(self, database: str, user: str) -> str:
        """The address of ``database`` for ``user``: ``postgresql://user@/database?host=/socket/directory``."""
        if self._socket_dir is None:
            raise EmbeddedPostgresError("embedded PostgreSQL is not started")
        host = urlencode({"host": str(self._socket_dir)}, safe="/")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?{host}"

    def ensure_database(self, name: str) -> bool:
        """Create the empty database ``name`` if it is missing; whether it was created."""
        if self._socket_dir is None:
            raise EmbeddedPostgresError("embedded PostgreSQL is not started")
        result = self._run(
            "createdb", "-h", str(self._socket_dir), "-p", str(_PORT), "-U", SUPERUSER, "--", name
        )
        if result.returncode != 0 and "already exists" not in result.stderr:
            raise EmbeddedPostgresError(f"cannot create database {name!r}: {_last_line(result)}")
        return result.returncode == 0

    @property
    def _cluster_home(self) -> Path:
        if self._home is None:
            raise EmbeddedPostgresError("embedded PostgreSQL is not started")
        return self._home

    @property
    def _cluster(self) -> Path:
        return self._cluster_home / "cluster"

    @contextlib.contextmanager
    def _starting_or_stopping(self) -> Iterator[None]:
        """One process of ours at a time starts or stops the cluster of a data directory."""
        lock = os.open(self._data_dir / "postgres.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _claim(self) -> int | None:
        """The ownership lock, held for as long as we live; ``None`` when another process holds it."""
        lock = os.open(self._data_dir / "postgres.owner", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the wheel's programs as the cluster's user, away from our own environment: a stray
        ``PGPORT`` or ``PGDATA`` would send it elsewhere."""
        version = self._cluster / "PG_VERSION"
        major = int(version.read_text(encoding="ascii")) if version.exists() else None
        return subprocess.run(
            [programs(major, self._user) / program, *arguments],
            user=self._user.uid,
            group=self._user.gid,
            extra_groups=None if self._user.uid is None else [],
            umask=0o077,
            cwd=self._cluster_home,
            env={"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def _create_cluster(self) -> None:
        if self._cluster.exists():
            return
        # Made under another name and renamed when whole: a kill half-way leaves nothing to trip over.
        unfinished = self._cluster_home / "unfinished"
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
        """The socket directory of the running server, started if none runs.

        Tried until a deadline: the children of a killed server hold its shared memory a moment longer.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            running = self._running_socket_dir()
            if running is not None:
                return running
            failure = self._launch()
            if failure is None:
                continue
            if time.monotonic() > deadline or not _passes_by_itself(failure):
                raise EmbeddedPostgresError(f"PostgreSQL did not start: {failure}")
            time.sleep(0.1)

    def _running_socket_dir(self) -> Path | None:
        """Where the running server of this cluster listens. Clears the traces of a dead one.

        ``postmaster.pid`` (PostgreSQL's own file): line 1 the process id, line 5 the socket directory.
        """
        pid_file = self._cluster / "postmaster.pid"
        try:
            lines = pid_file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        listening = Path(lines[4]) if len(lines) > 4 and lines[4] else None
        if listening is not None and self._takes_connections(listening):
            return listening
        if not lines or not self._is_our_server(int(lines[0])):
            pid_file.unlink(missing_ok=True)
            if listening is not None and listening.parent != self._cluster_home:
                shutil.rmtree(listening, ignore_errors=True)
        return None

    def _takes_connections(self, listening: Path) -> bool:
        # A server that was just killed may still let a socket connect: only an answer counts.
        address = ("-h", str(listening), "-p", str(_PORT), "-U", SUPERUSER, "-d", "postgres")
        result = self._run("pg_isready", *address, "--timeout=3", "--quiet")
        return result.returncode == 0

    def _is_our_server(self, pid: int) -> bool:
        """Whether ``pid`` is this cluster's server: it works inside the cluster's directory. Its number may
        have gone to a stranger since it was written down."""
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == self._cluster.resolve()
        except FileNotFoundError:
            # No such process; or no /proc (macOS), where PostgreSQL's own judgement has to do.
            return not Path("/proc/self").exists()
        except PermissionError:
            return False

    def _launch(self) -> str | None:
        """Start the server and wait until it takes connections; the reason when it did not."""
        sockets = socket_dir(self._cluster_home, self._user)
        settings = {**self._settings, "unix_socket_directories": str(sockets)}
        body = "".join(f"{name} = {_quoted(value)}\n" for name, value in settings.items())
        conf = self._cluster / "postgresql.conf"
        conf.write_text(f"# Written anew by Scopegate at each start.\n{body}", encoding="utf-8")
        log = self._cluster_home / "postgres.log"
        if log.exists() and log.stat().st_size > _LARGEST_LOG:
            log.rename(log.with_suffix(".log.1"))
        begins = log.stat().st_size if log.exists() else 0
        wait = f"--timeout={int(_START_SECONDS)}"
        result = self._run("pg_ctl", "start", "--wait", wait, f"--pgdata={self._cluster}", f"--log={log}")
        if result.returncode == 0:
            return None
        if sockets.parent != self._cluster_home:
            shutil.rmtree(sockets, ignore_errors=True)
        if not log.exists():
            return _last_line(result)
        with log.open(encoding="utf-8", errors="replace") as written:
            written.seek(begins)
            fatal = [line for line in written if re.search(r"(FATAL|PANIC):", line)]
        return f"{fatal[0].strip() if fatal else _last_line(result)} (see {log})"

    def _shut_down(self) -> None:
        if self._running_socket_dir() is None:
            return
        target = (f"--pgdata={self._cluster}", "--wait", f"--timeout={_STOP_SECONDS}")
        result = self._run("pg_ctl", "stop", "--mode=fast", *target)
        if result.returncode != 0 and self._running_socket_dir() is not None:
            result = self._run("pg_ctl", "stop", "--mode=immediate", *target)
            if result.returncode != 0:
                raise EmbeddedPostgresError(f"PostgreSQL did not stop: {_last_line(result)}")


def _passes_by_itself(failure: str) -> bool:
    return any(
        sign in failure
        for sign in ("pre-existing shared memory", "lock file", "another server", "Is another postmaster")
    )


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _last_line(result: subprocess.CompletedProcess[str]) -> str:
    lines = (result.stderr or result.stdout).strip().splitlines()
    return lines[-1].strip() if lines else f"exit code {result.returncode}"
