"""What each MCP client wants in its settings. Not one of them is given the token: each reads a variable or asks."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Scope = Literal["project", "user"]


@dataclass(frozen=True, slots=True)
class Entry:
    """The server as a client shall know it."""

    name: str
    url: str
    variable: str
    """The environment variable that has the token."""


@dataclass(frozen=True, slots=True)
class McpClient:
    """A program that speaks MCP, and its settings file."""

    title: str
    file: Callable[[Scope], Path | None]
    """Where its settings are; None: there is no file for others to write."""
    servers: str
    """The member that has the servers."""
    server: Callable[[Entry], dict[str, Any]]
    inputs: Callable[[Entry], list[dict[str, Any]]] = lambda entry: []
    """What it shall ask the person for."""
    toml: bool = False
    asks: bool = False
    """Whether it asks for the token; else the variable has to be set where it starts."""

    def settings(self, entry: Entry) -> dict[str, Any]:
        """The settings with nothing else in them."""
        inputs = self.inputs(entry)
        return {**({"inputs": inputs} if inputs else {}), self.servers: {entry.name: self.server(entry)}}

    def text(self, entry: Entry) -> str:
        """The same, as it stands in the file."""
        if not self.toml:
            return json.dumps(self.settings(entry), indent=2)
        lines = [f"{key} = {json.dumps(value)}" for key, value in self.server(entry).items()]
        return "\n".join([f"[{self.servers}.{entry.name}]", *lines])


def claude_command(entry: Entry) -> str:
    """How Claude Code is told by a command. The single quotes keep the shell from putting the token itself in."""
    header = shlex.quote(f"Authorization: Bearer ${{{entry.variable}}}")
    place = f"{shlex.quote(entry.name)} {shlex.quote(entry.url)}"
    return f"claude mcp add --scope user --transport http {place} --header {header}"


def _claude_file(scope: Scope) -> Path | None:
    # What it has for the user, it writes itself all the time, with its own state in it.
    return Path(".mcp.json") if scope == "project" else None


def _cursor_file(scope: Scope) -> Path:
    return (Path() if scope == "project" else Path.home()) / ".cursor" / "mcp.json"


def _vscode_file(scope: Scope) -> Path:
    if scope == "project":
        return Path(".vscode") / "mcp.json"
    return _vscode_home(sys.platform, os.environ) / "Code" / "User" / "mcp.json"


def _vscode_home(platform: str, environ: Mapping[str, str]) -> Path:
    if platform == "win32":
        return Path(environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _codex_file(scope: Scope) -> Path:
    if scope == "project":
        return Path(".codex") / "config.toml"
    return Path(os.environ.get("CODEX_HOME") or Path.home() / ".codex") / "config.toml"


def _bearer(reference: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {reference}"}


CLAUDE_CODE = McpClient(
    title="Claude Code",
    file=_claude_file,
    servers="mcpServers",
    server=lambda entry: {
        "type": "http",
        "url": entry.url,
        "headers": _bearer(f"${{{entry.variable}}}"),
    },
)
CURSOR = McpClient(
    title="Cursor",
    file=_cursor_file,
    servers="mcpServers",
    server=lambda entry: {"url": entry.url, "headers": _bearer(f"${{env:{entry.variable}}}")},
)
VSCODE = McpClient(
    title="VS Code",
    file=_vscode_file,
    servers="servers",
    server=lambda entry: {
        "type": "http",
        "url": entry.url,
        "headers": _bearer(f"${{input:{entry.variable}}}"),
    },
    inputs=lambda entry: [
        {"type": "promptString", "id": entry.variable, "description": "Scopegate token", "password": True}
    ],
    asks=True,
)
CODEX = McpClient(
    title="Codex",
    file=_codex_file,
    servers="mcp_servers",
    server=lambda entry: {"url": entry.url, "bearer_token_env_var": entry.variable},
    toml=True,
)
