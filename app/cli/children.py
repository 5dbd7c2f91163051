"""Child processes of commands, which end with the command, and programs from PyPI in environments of their own.

The environments are separate because the requirements of the programs conflict with ours.

An environment is a folder in the data directory. It is installed from a lock file with hashes, and again after the
lock file changes.
"""

import contextlib
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
from app.supervisor.processes import die_with


class Child:
    """A program in its own process group, so that Ctrl-C in the terminal only reaches the parent.

    On Linux it gets ``farewell`` when the parent dies for any reason.
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
        """``log`` receives both outputs and is overwritten; without it the child shares the parent's outputs.
        ``grace_seconds`` is the time between SIGTERM and SIGKILL in ``stop``."""
        self.name = name
        self.log = log
        self._grace_seconds = grace_seconds
        with log.open("wb") if log is not None else contextlib.nullcontext() as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output is not None else None,
                start_new_session=True,
                # Safe: the parent is a command line with one thread, and nothing in the function takes a lock.
                preexec_fn=_first_in_child(farewell),  # noqa: PLW1509
            )

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; 128 + n after signal n ended it."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    def wait(self, seconds: float) -> int | None:
        """Wait at most ``seconds`` for the end; return the exit code, or ``None`` if it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.exit_code

    def stop(self) -> None:
        """Send SIGTERM, wait for the grace period, then kill the whole group."""
        if self._process.poll() is None:
            self._process.terminate()
            self.wait(self._grace_seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # The group outlives its leader while it has members. PermissionError: macOS raises it for zombies.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def end_with_parent() -> None:
    """On Linux: end this worker process with SIGTERM when its parent dies for any reason."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None and sys.platform == "linux":
        die_with(parent.pid, signal.SIGTERM)


def _first_in_child(farewell: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def prepare() -> None:
        # The signal mask is inherited; with blocked signals the child could not be stopped.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if sys.platform == "linux":
            die_with(parent, farewell)

    return prepare


LOOPBACK = "127.0.0.1"
LOCKS = Path(__file__).parent / "requirements"


def programs_of(home: Path, name: str, locks: Path = LOCKS) -> Path:
    """The folder of an environment's programs."""
    return _environment(home, name, locks) / "bin"


def make_environment(home: Path, name: str, locks: Path = LOCKS) -> None:
    """Install ``<name>.lock`` of the folder ``locks`` under ``home``, unless it is installed.

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
    bundled = Path(sys.executable).with_name("uv")
    uv = bundled if bundled.exists() else shutil.which("uv")
    if uv is None:
        raise CannotStart("the demo is installed by uv, which is missing: pip install uv")
    # uv keeps our environment variables, because the package index may be configured there.
    run([uv, "venv", "--quiet", "--python", sys.executable, environment], os.environ)
    # Like pip, trust the machine's certificates: the index may use a company's own authority.
    install = [uv, "pip", "install", "--system-certs", "--quiet", "--python", environment / "bin" / "python"]
    run([*install, "--require-hashes", "-r", locks / f"{name}.lock"], os.environ)
    finished.touch()


def plain_environment() -> dict[str, str]:
    """The environment variables that such a program needs, without secrets."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ}


def run(command: list[str | Path], environment: Mapping[str, str]) -> None:
    """Run a program to its end.

    Raises:
        CannotStart: it failed; with the beginning of its output.
    """
    result = subprocess.run(
        [str(part) for part in command], env=dict(environment), capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        shown = " ".join(str(part) for part in command[:3])
        raise CannotStart(f"the demo cannot be made: {shown}: {' '.join(lines[:3]) or 'failed'}")


def free_port(record: Path) -> int:
    """Find a free loopback port: the last one if it is free, so that registered addresses stay valid.

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
    """Whether a program listens on a loopback port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False


def _environment(home: Path, name: str, locks: Path) -> Path:
    digest = hashlib.sha256((locks / f"{name}.lock").read_bytes()).hexdigest()[:12]
    return home / f"{name}-{digest}"
