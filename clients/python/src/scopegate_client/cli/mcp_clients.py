"""The settings formats of MCP clients. None contains the token: each client reads a variable or asks for it."""

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
    """The server in the settings of a client."""

    name: str
    url: str
    variable: str
    """The environment variable with the token."""


@dataclass(frozen=True, slots=True)
class McpClient:
    """A program that speaks MCP, and its settings file."""

    title: str
    file: Callable[[Scope], Path | None]
    """The path of the settings; None: there is no file that other programs may write."""
    servers: str
    """The member with the servers."""
    server: Callable[[Entry], dict[str, Any]]
    inputs: Callable[[Entry], list[dict[str, Any]]] = lambda entry: []
    """The inputs that it asks the person for."""
    toml: bool = False
    asks: bool = False
    """Whether it asks for the token; otherwise the variable must be set before it starts."""

    def settings(self, entry: Entry) -> dict[str, Any]:
        """The settings with this server only."""
        inputs = self.inputs(entry)
        return {**({"inputs": inputs} if inputs else {}), self.servers: {entry.name: self.server(entry)}}

    def text(self, entry: Entry) -> str:
        """The settings as text for the file."""
        if not self.toml:
            return json.dumps(self.settings(entry), indent=2)
        lines = [f"{key} = {json.dumps(value)}" for key, value in self.server(entry).items()]
        return "\n".join([f"[{self.servers}.{entry.name}]", *lines])


def claude_command(entry: Entry) -> str:
    """The command that adds the server to Claude Code. The single quotes keep the shell from inserting the token."""
    header = shlex.quote(f"Authorization: Bearer ${{{entry.variable}}}")
    place = f"{shlex.quote(entry.name)} {shlex.quote(entry.url)}"
    return f"claude mcp add --scope user --transport http {place} --header {header}"


def _claude_file(scope: Scope) -> Path | None:
    # Claude Code writes the user's file itself all the time, with its own state in it.
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
