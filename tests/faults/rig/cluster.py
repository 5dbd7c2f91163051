"""The rig's own PostgreSQL, which it kills, freezes, restarts, makes read-only and fills. All methods block."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.db.embedded_postgres import SUPERUSER, EmbeddedPostgres, EmbeddedPostgresError, programs, run_as

DATABASE = "rig"
_SETTINGS: Mapping[str, str] = {
    "shared_buffers": "64MB",
    "min_wal_size": "32MB",
    "max_wal_size": "64MB",
    # A killed server leaves its shared memory in its own directory, not in the machine's memory.
    "dynamic_shared_memory_type": "mmap",
}
_DATA_MB, _WAL_MB = 1536, 320
_GONE_S = 10.0
_BLOCK = b"\0" * (1 << 20)


class Cluster:
    """A cluster in a directory of its own; as root, data and log each have a small file system."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        place = Path(tempfile.mkdtemp(prefix="sg-rig-", dir=memory if memory.is_dir() else "/tmp"))
        self._place = place
        self._mounts: list[Path] = []
        self._data = place / "data"
        self._wal = place / "wal"
        self._postgres = EmbeddedPostgres(self._data, extra_settings=_SETTINGS)
        self.why_not_full = ""
        """Why its disks cannot be filled; empty if they can."""

    @property
    def url(self) -> str:
        """The address of its one database, for its superuser."""
        return self._postgres.url(DATABASE, SUPERUSER)

    def create(self) -> None:
        """Make it and start it."""
        self._place.chmod(0o711)
        self._mount(self._data, _DATA_MB)
        self._postgres.start()
        if self._mounts and self._mount(self._wal, _WAL_MB):
            self._move_wal()
        self._postgres.ensure_database(DATABASE)

    def _mount(self, place: Path, size_mb: int) -> bool:
        place.mkdir(mode=0o711)
        if os.geteuid() != 0:
            self.why_not_full = "only root can mount a small file system"
            return False
        options = f"size={size_mb}m,mode=711"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "scopegate-rig", place],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            self.why_not_full = f"a small file system cannot be mounted: {done.stderr.strip()}"
            return False
        self._mounts.append(place)
        return True

    def _move_wal(self) -> None:
        """Move the WAL to its own file system with a symbolic link."""
        self._postgres.stop()
        user, cluster = run_as(), self._data / "postgres" / "cluster"
        target = self._wal / "pg_wal"
        shutil.copytree(cluster / "pg_wal", target)
        for path in (target, *target.rglob("*")):
            user.own(path)
            path.chmod(0o700 if path.is_dir() else 0o600)
        shutil.rmtree(cluster / "pg_wal")
        (cluster / "pg_wal").symlink_to(target)
        self._postgres.start()

    def destroy(self) -> None:
        """Stop it and remove all files."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, EmbeddedPostgresError):
            self.thaw()
        with contextlib.suppress(EmbeddedPostgresError):
            self._postgres.stop()
        for mount in reversed(self._mounts):
            subprocess.run(["umount", "--lazy", mount], check=False)
        self._mounts.clear()
        shutil.rmtree(self._place, ignore_errors=True)

    def _postmaster(self) -> int:
        pid_file = self._data / "postgres" / "cluster" / "postmaster.pid"
        return int(pid_file.read_text(encoding="utf-8").splitlines()[0])

    def processes(self) -> list[int]:
        """The postmaster and all of its children, it first."""
        postmaster = self._postmaster()
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text(encoding="ascii")
        return [postmaster, *map(int, children.split())]

    def kill(self) -> None:
        """SIGKILL all its processes, and wait for their end."""
        # Frozen, the postmaster has no more children, which would outlive it unseen.
        self.freeze()
        doomed = self.processes()
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _GONE_S
        while any(_runs(pid) for pid in doomed):
            if time.monotonic() > deadline:
                raise AssertionError("PostgreSQL lives on after SIGKILL")
            time.sleep(0.005)

    def bring_up(self) -> None:
        """Start it, after a kill or a crash, or do nothing when it runs."""
        self._postgres.stop()
        self._postgres.start()

    def restart(self) -> None:
        """Stop it in the fast way, which ends sessions, and start it again."""
        self.bring_up()

    def save(self, name: str) -> None:
        """Keep the state of the cluster, which does not run, under a name."""
        for place in self._places():
            saved = self._place / name / place.parent.name
            saved.mkdir(parents=True)
            subprocess.run(["cp", "-a", f"{place}/.", saved], check=True)

    def put_back(self, name: str) -> None:
        """Bring a state back in place of that of the cluster, which does not run."""
        for place in self._places():
            for path in place.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            saved = self._place / name / place.parent.name
            subprocess.run(["cp", "-a", f"{saved}/.", place], check=True)
            shutil.rmtree(saved)

    def _places(self) -> list[Path]:
        cluster, wal = self._data / "postgres" / "cluster", self._wal / "pg_wal"
        return [cluster, wal] if wal.exists() else [cluster]

    def stop(self) -> None:
        """Stop it in the fast way."""
        self._postgres.stop()

    def freeze(self) -> None:
        """SIGSTOP every process of it."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT every process of it."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def full(self, *, wal: bool) -> Iterator[None]:
        """Fill the file system of the data, or of the WAL."""
        ballast = (self._wal if wal else self._data) / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(_BLOCK) == len(_BLOCK):
                    pass
            yield
        finally:
            ballast.unlink()

    def dump(self) -> bytes:
        """All of the database as ``pg_dump`` writes it."""
        program = programs(None, run_as()) / "pg_dump"
        done = subprocess.run([program, "--dbname", self.url], capture_output=True, check=True)
        return done.stdout

    @property
    def log(self) -> Path:
        """What the server itself has written."""
        return self._data / "postgres" / "postgres.log"


def _runs(pid: int) -> bool:
    """Whether a process is there and more than a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
