"""Putting packages of npm beside the test that runs them, once for all workers and sessions."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest


def install(folder: Path, what: str) -> None:
    """Install what the folder's lock file names. Skips the test, saying what is missing, where there is no npm."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip(f"{what} needs Node and npm: apt-get install nodejs npm")
    lock = folder / "package-lock.json"
    stamp = folder / "node_modules" / ".installed"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        stamp.write_text(wanted)


def find_node(folder: Path, version: int, what: str) -> str:
    """A Node of at least this version: the one among the folder's packages, where there is one for this machine."""
    for path in sorted((folder / "node_modules").glob("node-*/bin/node")):
        return str(path)
    found = shutil.which("node")
    if found is not None:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
        if int(said.removeprefix("v").partition(".")[0]) >= version:
            return found
    pytest.skip(f"{what} needs Node {version}, and has none for this machine")
