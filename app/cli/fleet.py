"""The demo fleet of ``scopegate dev``: real MCP servers from PyPI on a small repository.

``mcp-server-time`` and ``mcp-server-git`` speak stdio; ``mcp-proxy`` bridges them to streamable HTTP on a
loopback port. The bridge and the servers need different lines of the MCP SDK, so each has an environment
of its own under the data directory, installed from a lock file with hashes.
"""

import hashlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from app.cli.children import Child
from app.cli.errors import CannotStart

SERVERS = {"time": "Clock and time zones", "git": "A small git repository"}
"""Slug and description of each server."""

_LOCKS = Path(__file__).parent / "requirements"
_HOST = "127.0.0.1"
_BRIDGE_GRACE_SECONDS = 2.0  # It may ignore SIGTERM for minutes while a stream is open.
_AUTHOR = {
    "GIT_AUTHOR_NAME": "Scopegate demo",
    "GIT_AUTHOR_EMAIL": "demo@example.com",
    "GIT_COMMITTER_NAME": "Scopegate demo",
    "GIT_COMMITTER_EMAIL": "demo@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
_HISTORY = (
    ("Begin the runbook", "runbook.md", "# Runbook\n\nHow we deploy, and what to do when it goes wrong.\n"),
    (
        "Say how to deploy",
        "deploy.md",
        "# Deploy\n\n1. Tag the release.\n2. Wait for the checks.\n3. Roll out.\n",
    ),
    ("List the owners", "owners.txt", "runbook.md  maria\ndeploy.md   deploy-agent\n"),
)


class Fleet:
    """The servers, prepared once for each data directory and run by one bridge."""

    def __init__(self, data_dir: Path) -> None:
        self._home = data_dir.absolute() / "demo"
        self.repository = self._home / "repository"
        self._port = 0
        self._bridge: Child | None = None

    def url(self, slug: str) -> str:
        """Where the bridge serves one server over streamable HTTP."""
        return f"http://{_HOST}:{self._port}/servers/{slug}/mcp"

    def prepare(self) -> None:
        """Make what is missing: both environments and the repository.

        Raises:
            CannotStart: ``uv`` or ``git`` is missing or failed.
        """
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("bridge", "servers"):
            self._make_environment(name)
        self._make_repository()

    def start(self) -> Child:
        """Start the bridge on the port of last time where that is free, so that what is registered stays true."""
        self._port = self._choose_port()
        servers = self._environment("servers") / "bin"
        time = shlex.join([str(servers / "mcp-server-time"), "--local-timezone", "UTC"])
        git = shlex.join([str(servers / "mcp-server-git"), "--repository", str(self.repository)])
        listen = ["--host", _HOST, "--port", str(self._port), "--pass-environment"]
        named = ["--named-server", "time", time, "--named-server", "git", git]
        self._bridge = Child(
            "the demo fleet",
            [self._environment("bridge") / "bin" / "mcp-proxy", *listen, *named],
            environment=_plain_environment() | _AUTHOR,
            log=self._home / "bridge.log",
            grace_seconds=_BRIDGE_GRACE_SECONDS,
            farewell=signal.SIGKILL,
        )
        return self._bridge

    def answers(self) -> bool:
        """Whether the bridge takes connections, which it does once every server has started."""
        try:
            with socket.create_connection((_HOST, self._port), timeout=1):
                return True
        except OSError:
            return False

    def _environment(self, name: str) -> Path:
        digest = hashlib.sha256((_LOCKS / f"{name}.lock").read_bytes()).hexdigest()[:12]
        return self._home / f"{name}-{digest}"

    def _make_environment(self, name: str) -> None:
        environment = self._environment(name)
        finished = environment / ".finished"
        if finished.exists():
            return
        shutil.rmtree(environment, ignore_errors=True)
        for old in self._home.glob(f"{name}-*"):
            shutil.rmtree(old, ignore_errors=True)
        uv = _uv()
        # Installing needs the package index as this machine is set up for it, so uv keeps our environment.
        _run([uv, "venv", "--quiet", "--python", sys.executable, environment], os.environ)
        python = environment / "bin" / "python"
        lock = _LOCKS / f"{name}.lock"
        _run(
            # As pip does, trust what this machine trusts: the index may stand behind a company's own authority.
            [
                uv,
                "pip",
                "install",
                "--system-certs",
                "--quiet",
                "--python",
                python,
                "--require-hashes",
                "-r",
                lock,
            ],
            os.environ,
        )
        finished.touch()

    def _make_repository(self) -> None:
        if (self.repository / ".git").exists():
            return
        if shutil.which("git") is None:
            raise CannotStart("the demo fleet needs git: apt-get install git")
        # Made aside and moved: half a repository is never taken for a whole one.
        unfinished = self.repository.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        environment = _plain_environment() | _AUTHOR
        _run(["git", "init", "--quiet", "--initial-branch=main", unfinished], environment)
        for message, name, content in _HISTORY:
            (unfinished / name).write_text(content, encoding="utf-8")
            _run(["git", "-C", unfinished, "add", name], environment)
            _run(["git", "-C", unfinished, "commit", "--quiet", "-m", message], environment)
        unfinished.rename(self.repository)

    def _choose_port(self) -> int:
        record = self._home / "port"
        last = int(record.read_text()) if record.exists() else 0
        for wanted in (last, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((_HOST, wanted))
                except OSError:
                    continue
                port: int = probe.getsockname()[1]
                record.write_text(f"{port}\n")
                return port
        raise CannotStart(f"no free port on {_HOST} for the demo fleet")


def _plain_environment() -> dict[str, str]:
    """What the servers need of ours, and no secret of it."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _uv() -> Path | str:
    beside = Path(sys.executable).with_name("uv")
    found = beside if beside.exists() else shutil.which("uv")
    if found is None:
        raise CannotStart("the demo fleet is installed by uv, which is missing: pip install uv")
    return found


def _run(command: list[str | Path], environment: Mapping[str, str]) -> None:
    result = subprocess.run(
        [str(part) for part in command], env=dict(environment), capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        shown = " ".join(str(part) for part in command[:3])
        raise CannotStart(f"the demo fleet cannot be made: {shown}: {' '.join(lines[:3]) or 'failed'}")
