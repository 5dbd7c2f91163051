"""A PostgreSQL primary and standby, from the embedded PostgreSQL programs. All methods block."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from app.db.embedded_postgres import SUPERUSER, programs, run_as

DATABASE = "replicated"
STANDBY = "standby"
_GONE_S = 10.0
_SETTINGS = """
listen_addresses = ''
port = 5432
shared_buffers = '32MB'
max_wal_size = '64MB'
min_wal_size = '32MB'
wal_keep_size = '256MB'
dynamic_shared_memory_type = mmap
max_connections = 120
timezone = 'UTC'
wal_receiver_status_interval = 1
"""


class Server:
    """One PostgreSQL in a directory of its own, reached by a socket in it."""

    def __init__(self, place: Path) -> None:
        self.sockets = place / "socket"
        self._place = place
        self._data = place / "data"
        self._log = place / "log"
        self._user = run_as()
        for directory in (place, self.sockets):
            directory.mkdir(mode=0o700)
            self._user.own(directory)

    @property
    def url(self) -> str:
        """Of this server alone."""
        return f"postgresql://{SUPERUSER}@/{DATABASE}?host={self.sockets}"

    def create(self) -> None:
        """Make an empty cluster with the database, and start it."""
        self.run("initdb", f"--pgdata={self._data}", f"--username={SUPERUSER}", "--auth=trust", "--no-sync")
        self.start()
        self.run("createdb", "-h", str(self.sockets), "-U", SUPERUSER, DATABASE)

    def follow(self, primary: "Server") -> None:
        """Copy a running server and stream from it from then on."""
        source = f"host={primary.sockets} user={SUPERUSER} application_name={STANDBY}"
        self.run(
            "pg_basebackup",
            f"--pgdata={self._data}",
            f"--dbname={source}",
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
        )
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        lines = f"{_SETTINGS}unix_socket_directories = '{self.sockets}'\n"
        (self._data / "postgresql.conf").write_text(lines, encoding="utf-8")
        self.run("pg_ctl", "start", "--wait", f"--pgdata={self._data}", f"--log={self._log}")

    def stop(self) -> None:
        """Stop it however it is."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            self.thaw()
            self.kill()

    def shut_down(self) -> None:
        """Stop it in order, so that it can be started again at once."""
        self.run("pg_ctl", "stop", "--mode=fast", "--wait", f"--pgdata={self._data}")

    def promote(self) -> None:
        """Make the standby a primary, and return when it is."""
        self.run("pg_ctl", "promote", "--wait", f"--pgdata={self._data}")

    def move_to(self, target: "Server") -> None:
        """Dump the database, and restore it in place of another server's."""
        dump = self._place / "dump"
        self.run("pg_dump", "-h", str(self.sockets), "-U", SUPERUSER, "-Fc", "-f", str(dump), DATABASE)
        of_target = ("-h", str(target.sockets), "-U", SUPERUSER)
        target.run("dropdb", *of_target, "--force", DATABASE)
        target.run("createdb", *of_target, "--template=template0", DATABASE)
        target.run("pg_restore", *of_target, "-d", DATABASE, "--exit-on-error", str(dump))

    def save(self) -> None:
        """Keep the state of the data directory; the server does not run."""
        self.run("cp", "-a", str(self._data), str(self._place / "saved"))

    def put_back(self) -> None:
        """Bring the saved state back; the server does not run."""
        shutil.rmtree(self._data)
        (self._place / "saved").rename(self._data)

    def set(self, name: str, value: str) -> None:
        """Change a setting in the running server."""
        statements = f"ALTER SYSTEM SET {name} = '{value}'", "SELECT pg_reload_conf()"
        arguments = [word for statement in statements for word in ("-c", statement)]
        self.run("psql", "-h", str(self.sockets), "-U", SUPERUSER, "-d", "postgres", *arguments)

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as its user; what it says."""
        done = subprocess.run(
            [program if program == "cp" else programs(None, self._user) / program, *arguments],
            user=self._user.uid, group=self._user.gid, extra_groups=None if self._user.uid is None else [],
            cwd=self._place, env={"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def _processes(self) -> list[int]:
        pid = int((self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [pid, *map(int, children.split())]

    def _signal(self, number: int) -> list[int]:
        processes = self._processes()
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return processes

    def freeze(self) -> None:
        """SIGSTOP all of it."""
        self._signal(signal.SIGSTOP)

    def forget_unread(self) -> None:
        """Have a frozen standby lose what lies in its socket, as with a network, once it is thawed."""
        for pid in self._processes():
            if b"walreceiver" in Path(f"/proc/{pid}/cmdline").read_bytes():
                # It ends before it reads again.
                os.kill(pid, signal.SIGTERM)

    def thaw(self) -> None:
        """SIGCONT all of it."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL all of it; nothing of it runs any more when this returns."""
        # All at one instant, as with its machine: who outlives the postmaster waits for no standby any more.
        self.freeze()
        doomed, deadline = self._signal(signal.SIGKILL), time.monotonic() + _GONE_S
        while any(_runs(pid) for pid in doomed):
            assert time.monotonic() < deadline, "PostgreSQL lives on after SIGKILL"
            time.sleep(0.005)
        (self._data / "postmaster.pid").unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return False


class Replicas:
    """A primary with one standby."""

    def __init__(self, primary: Server, standby: Server) -> None:
        self.primary = primary
        self.standby = standby

    @property
    def url(self) -> str:
        """Of whichever is the primary."""
        hosts = f"{self.primary.sockets},{self.standby.sockets}"
        return f"postgresql://{SUPERUSER}@/{DATABASE}?host={hosts}"

    def synchronous(self, *, on: bool) -> None:
        """Have the primary wait for the standby at each commit, or not."""
        self.primary.set("synchronous_standby_names", STANDBY if on else "")

    def fail_over(self) -> None:
        """Make the standby the primary, which waits for no standby itself."""
        self.standby.promote()
        self.standby.set("synchronous_standby_names", "")


@contextlib.contextmanager
def replicas() -> Iterator[Replicas]:
    """Both of them, the standby streaming; nothing is left of either at the end."""
    with _stopped_servers() as (primary, standby):
        primary.create()
        standby.follow(primary)
        yield Replicas(primary, standby)


@contextlib.contextmanager
def two_systems() -> Iterator[tuple[Server, Server]]:
    """Two servers with nothing in common; nothing is left of either at the end."""
    with _stopped_servers() as two:
        for server in two:
            server.create()
        yield two


@contextlib.contextmanager
def _stopped_servers() -> Iterator[tuple[Server, Server]]:
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="sg-two-", dir=memory if memory.is_dir() else "/tmp"))
    place.chmod(0o711)
    one, other = Server(place / "a"), Server(place / "b")
    try:
        yield one, other
    finally:
        other.stop()
        one.stop()
        shutil.rmtree(place, ignore_errors=True)
