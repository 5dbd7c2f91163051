"""Programs that a command starts and must not leave behind.

Programs from PyPI that ``scopegate dev`` runs, each in an environment of its own: their needs may clash with ours.

An environment lies under the data directory, is installed from a lock file with hashes, and is made anew when
the lock file changes.
"""

import contextlib
import ctypes
import hashlib
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.cli.errors import CannotStart

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Child:
    """One program in a process group of its own: Ctrl-C in the terminal reaches its parent alone.

    On Linux it gets ``farewell`` when the parent dies, however that happens.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        log: Path | None = None,
        grace_seconds: float = 5.0,
        farewell: signal.Signals = signal.SIGTERM,
    ) -> None:
        """``log`` takes both outputs and is written anew; without it the child shares ours.
        ``grace_seconds`` is what ``stop`` allows after SIGTERM before it kills."""
        self.name = name
        self.log = log
        self._grace_seconds = grace_seconds
        output = log.open("wb") if log is not None else None
        try:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output is not None else None,
                start_new_session=True,
                # Safe: the parent is a command line with one thread, and nothing in it takes a lock.
                preexec_fn=_first_in_child(farewell),  # noqa: PLW1509
            )
        finally:
            if output is not None:
                output.close()

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; 128 + n when signal n ended it."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    def wait(self, seconds: float) -> int | None:
        """Wait at most ``seconds`` for the end; the exit code, or ``None`` when it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.exit_code

    def stop(self) -> None:
        """Ask, wait for the grace, then kill the whole group."""
        if self._process.poll() is None:
            self._process.terminate()
            self.wait(self._grace_seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # The group outlives its leader while it has members. PermissionError: macOS says so of zombies.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def end_with_parent() -> None:
    """On Linux: from here on this process, a worker, gets SIGTERM when its parent dies, however that happens."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        _farewell(ctypes.CDLL(None) if sys.platform == "linux" else None, signal.SIGTERM, parent.pid)


def _first_in_child(farewell: signal.Signals) -> Callable[[], None]:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    parent = os.getpid()

    def prepare() -> None:
        # A mask is inherited, and with our signals blocked the child could not be stopped.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _farewell(libc, farewell, parent)

    return prepare


def _farewell(libc: ctypes.CDLL | None, farewell: signal.Signals, parent: int | None) -> None:
    if libc is not None:
        libc.prctl(_PR_SET_PDEATHSIG, int(farewell), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # The parent died before the line above.


LOOPBACK = "127.0.0.1"
LOCKS = Path(__file__).parent / "requirements"


def programs_of(home: Path, name: str, locks: Path = LOCKS) -> Path:
    """Where the programs of an environment are, once it is made."""
    return _environment(home, name, locks) / "bin"


def make_environment(home: Path, name: str, locks: Path = LOCKS) -> None:
    """Install ``<name>.lock`` of the folder ``locks`` under ``home``, unless that was done.

    Raises:
        CannotStart: ``uv`` is missing or failed.
    """
    environment = _environment(home, name, locks)
    finished = environment / ".finished"
    if finished.exists():
        return
    shutil.rmtree(environment, ignore_errors=True)
    for old in home.glob(f"{name}-*"):
        shutil.rmtree(old, ignore_errors=True)
    uv = _uv()
    # Installing needs the package index as this machine is set up for it, so uv keeps our environment.
    run([uv, "venv", "--quiet", "--python", sys.executable, environment], os.environ)
    # As pip does, trust what this machine trusts: the index may stand behind a company's own authority.
    install = [uv, "pip", "install", "--system-certs", "--quiet", "--python", environment / "bin" / "python"]
    run([*install, "--require-hashes", "-r", locks / f"{name}.lock"], os.environ)
    finished.touch()


def plain_environment() -> dict[str, str]:
    """What such a program needs of our environment variables, and no secret of them."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ}


def run(command: list[str | Path], environment: Mapping[str, str]) -> None:
    """Run a program to its end.

    Raises:
        CannotStart: it failed; with the beginning of what it said.
    """
    result = subprocess.run(
        [str(part) for part in command], env=dict(environment), capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        shown = " ".join(str(part) for part in command[:3])
        raise CannotStart(f"the demo cannot be made: {shown}: {' '.join(lines[:3]) or 'failed'}")


def free_port(record: Path) -> int:
    """A free loopback port: that of last time where it is free, so that what was told others stays true.

    Raises:
        CannotStart: there is none.
    """
    last = int(record.read_text()) if record.exists() else 0
    for wanted in (last, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, wanted))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
            record.write_text(f"{port}\n")
            return port
    raise CannotStart(f"no free port on {LOOPBACK} for the demo")


def takes_connections(port: int) -> bool:
    """Whether somebody listens on a loopback port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False


def _environment(home: Path, name: str, locks: Path) -> Path:
    digest = hashlib.sha256((locks / f"{name}.lock").read_bytes()).hexdigest()[:12]
    return home / f"{name}-{digest}"


def _uv() -> Path | str:
    beside = Path(sys.executable).with_name("uv")
    found = beside if beside.exists() else shutil.which("uv")
    if found is None:
        raise CannotStart("the demo is installed by uv, which is missing: pip install uv")
    return found
