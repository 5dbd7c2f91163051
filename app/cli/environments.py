"""Programs from PyPI that ``scopegate dev`` runs, each in an environment of its own: their needs may clash with ours.

An environment lies under the data directory, is installed from a lock file with hashes, and is made anew when
the lock file changes.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from app.cli.errors import CannotStart

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
