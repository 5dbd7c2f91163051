"""The demo fleet of ``scopegate dev``: real MCP servers from PyPI on a small repository.

``mcp-server-time`` and ``mcp-server-git`` speak stdio; ``mcp-proxy`` bridges them to streamable HTTP on a
loopback port. The bridge and the servers need different lines of the MCP SDK, so each has an environment of its own.
"""

import os
import shlex
import shutil
import signal
from pathlib import Path

from app.cli.children import Child
from app.cli.environments import (
    LOOPBACK,
    free_port,
    make_environment,
    plain_environment,
    programs_of,
    run,
    takes_connections,
)
from app.cli.errors import CannotStart

SERVERS = {"time": "Clock and time zones", "git": "A small git repository"}
"""Slug and description of each server."""

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
        return f"http://{LOOPBACK}:{self._port}/servers/{slug}/mcp"

    def prepare(self) -> None:
        """Make what is missing: both environments and the repository.

        Raises:
            CannotStart: ``uv`` or ``git`` is missing or failed.
        """
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("bridge", "servers"):
            make_environment(self._home, name)
        self._make_repository()

    def start(self) -> Child:
        """Start the bridge on the port of last time where that is free, so that what is registered stays true."""
        self._port = free_port(self._home / "port")
        servers = programs_of(self._home, "servers")
        time = shlex.join([str(servers / "mcp-server-time"), "--local-timezone", "UTC"])
        git = shlex.join([str(servers / "mcp-server-git"), "--repository", str(self.repository)])
        listen = ["--host", LOOPBACK, "--port", str(self._port), "--pass-environment"]
        named = ["--named-server", "time", time, "--named-server", "git", git]
        self._bridge = Child(
            "the demo fleet",
            [programs_of(self._home, "bridge") / "mcp-proxy", *listen, *named],
            environment=plain_environment() | _AUTHOR,
            log=self._home / "bridge.log",
            grace_seconds=_BRIDGE_GRACE_SECONDS,
            farewell=signal.SIGKILL,
        )
        return self._bridge

    def answers(self) -> bool:
        """Whether the bridge takes connections, which it does once every server has started."""
        return takes_connections(self._port)

    def _make_repository(self) -> None:
        if (self.repository / ".git").exists():
            return
        if shutil.which("git") is None:
            raise CannotStart("the demo fleet needs git: apt-get install git")
        # Made aside and moved: half a repository is never taken for a whole one.
        unfinished = self.repository.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        environment = plain_environment() | _AUTHOR
        run(["git", "init", "--quiet", "--initial-branch=main", unfinished], environment)
        for message, name, content in _HISTORY:
            (unfinished / name).write_text(content, encoding="utf-8")
            run(["git", "-C", unfinished, "add", name], environment)
            run(["git", "-C", unfinished, "commit", "--quiet", "-m", message], environment)
        unfinished.rename(self.repository)
