"""`sgctl connect`: the settings with which an MCP client reaches Scopegate."""

import os
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from scopegate_client.cli import profiles
from scopegate_client.cli.choices import choice
from scopegate_client.cli.command import Session, command
from scopegate_client.cli.failing import usage
from scopegate_client.cli.groups import group
from scopegate_client.cli.mcp_clients import (
    CLAUDE_CODE,
    CODEX,
    CURSOR,
    VSCODE,
    Entry,
    McpClient,
    Scope,
    claude_command,
)
from scopegate_client.cli.settings_files import write_settings

app = group("Print or write the settings of an MCP client.")

ServerOption = Annotated[
    str | None,
    typer.Option("--server", metavar="SLUG", help="This server alone; else all that the token reaches."),
]
NameOption = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="What the client calls it; else scopegate, or the slug."),
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Where Scopegate is; else SCOPEGATE_URL, or the profile's."),
]
VariableOption = Annotated[
    str, typer.Option("--variable", metavar="NAME", help="The environment variable that has the token.")
]
WriteOption = Annotated[bool, typer.Option("--write", help="Write the file; what is in it stays.")]
FileOption = Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Another settings file.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Also where another server has that name.")]
ScopeOption = Annotated[Any, choice("--scope", Scope, "The settings of this directory, or yours everywhere.")]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@command(app, "claude-code")
def claude_code(
    session: Session,
    *,
    server: ServerOption = None,
    name: NameOption = None,
    url: UrlOption = None,
    variable: VariableOption = "SCOPEGATE_TOKEN",
    scope: ScopeOption = "project",
    file: FileOption = None,
    write: WriteOption = False,
    replace: ReplaceOption = False,
) -> None:
    """Claude Code: .mcp.json of this directory; with --scope user, the command that tells it."""
    entry = _entry(session, server, name, url, variable)
    _connect(session, CLAUDE_CODE, entry, scope, file, write=write, replace=replace)


@command(app, "cursor")
def cursor(
    session: Session,
    *,
    server: ServerOption = None,
    name: NameOption = None,
    url: UrlOption = None,
    variable: VariableOption = "SCOPEGATE_TOKEN",
    scope: ScopeOption = "project",
    file: FileOption = None,
    write: WriteOption = False,
    replace: ReplaceOption = False,
) -> None:
    """Cursor: .cursor/mcp.json of this directory or, with --scope user, of yours."""
    entry = _entry(session, server, name, url, variable)
    _connect(session, CURSOR, entry, scope, file, write=write, replace=replace)


@command(app, "vscode")
def vscode(
    session: Session,
    *,
    server: ServerOption = None,
    name: NameOption = None,
    url: UrlOption = None,
    variable: Annotated[
        str,
        typer.Option("--variable", metavar="NAME", help="The id of the input that VS Code asks for, once."),
    ] = "SCOPEGATE_TOKEN",
    scope: ScopeOption = "project",
    file: FileOption = None,
    write: WriteOption = False,
    replace: ReplaceOption = False,
) -> None:
    """VS Code: .vscode/mcp.json of this directory or, with --scope user, yours. It asks for the token, once."""
    entry = _entry(session, server, name, url, variable)
    _connect(session, VSCODE, entry, scope, file, write=write, replace=replace)


@command(app, "codex")
def codex(
    session: Session,
    *,
    server: ServerOption = None,
    name: NameOption = None,
    url: UrlOption = None,
    variable: VariableOption = "SCOPEGATE_TOKEN",
    scope: ScopeOption = "user",
    file: FileOption = None,
    write: WriteOption = False,
    replace: ReplaceOption = False,
) -> None:
    """Codex: ~/.codex/config.toml or, with --scope project, .codex/config.toml of this directory."""
    entry = _entry(session, server, name, url, variable)
    _connect(session, CODEX, entry, scope, file, write=write, replace=replace)


def _entry(session: Session, server: str | None, name: str | None, url: str | None, variable: str) -> Entry:
    if server is not None and not _SLUG.fullmatch(server):
        raise usage(f"{server!r} is no slug of a server.")
    name = name or server or "scopegate"
    if not _NAME.fullmatch(name):
        raise usage(f"{name!r} is no name for a server: letters, digits, '_' and '-' make one.")
    if not _VARIABLE.fullmatch(variable):
        raise usage(f"{variable!r} is no name of a variable.")
    path = "/mcp" if server is None else f"/mcp/{quote(server, safe='')}"
    return Entry(name, _address(session, url) + path, variable)


def _address(session: Session, url: str | None) -> str:
    """Where Scopegate is. Nobody has to sign in for that."""
    profile = profiles.load_profile(profiles.selected_profile(session.profile))
    kept = profile.url if profile is not None else None
    in_environment = os.environ.get("SCOPEGATE_URL") if session.profile is None else None
    address = url or in_environment or kept
    if not address:
        raise usage("Say where Scopegate is: --url, SCOPEGATE_URL, or `sgctl login`.")
    if not address.startswith(("https://", "http://")):
        raise usage(f"The address has to start with https:// (or http://), and {address!r} does not.")
    return address.strip().rstrip("/")


def _connect(
    session: Session,
    client: McpClient,
    entry: Entry,
    scope: Scope,
    file: Path | None,
    *,
    write: bool,
    replace: bool,
) -> None:
    path = file or client.file(scope)
    output = session.output
    if path is None:
        _by_command(session, client, entry, write=write)
        return
    answer = {
        "client": client.title,
        "name": entry.name,
        "url": entry.url,
        "variable": entry.variable,
        "file": str(path),
        "settings": client.text(entry),
        "written": False,
        "backup": None,
    }
    if write:
        written = write_settings(client, entry, path, replace=replace)
        answer |= {
            "file": str(written.path),
            "written": written.changed,
            "backup": str(written.backup) if written.backup else None,
        }
        kept = f" What was there is in {written.backup}." if written.backup else ""
        output.remark(
            f"{written.path} has {entry.name} now.{kept}"
            if written.changed
            else f"{written.path} had it already."
        )
    elif not output.is_json:
        output.line(client.text(entry))
        output.remark(f"This belongs into {path}; --write puts it there.")
    if output.is_json:
        output.document(answer)
    if client.asks:
        output.remark(f"{client.title} asks for the token, and keeps it.")
    else:
        output.remark(f"Set {entry.variable} to the token where {client.title} starts.")


def _by_command(session: Session, client: McpClient, entry: Entry, *, write: bool) -> None:
    told = claude_command(entry)
    if write:
        raise usage(f"{client.title} writes its settings for the user itself: run {told}")
    if session.output.is_json:
        session.output.document(
            {
                "client": client.title,
                "name": entry.name,
                "url": entry.url,
                "variable": entry.variable,
                "command": told,
            }
        )
    else:
        session.output.line(told)
    session.output.remark(f"Set {entry.variable} to the token where {client.title} starts.")
