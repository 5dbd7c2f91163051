"""`sgctl connect`: the settings of MCP clients for Scopegate."""

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
    typer.Option("--server", metavar="SLUG", help="Only this server; default: all that the token reaches."),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="NAME", help="The server's name in the client; default: scopegate, or the slug."
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="The address of Scopegate; default: SCOPEGATE_URL, or the profile's."
    ),
]
VariableOption = Annotated[
    str, typer.Option("--variable", metavar="NAME", help="The environment variable with the token.")
]
WriteOption = Annotated[bool, typer.Option("--write", help="Write the file, and keep its other content.")]
FileOption = Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Another settings file.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Replace another server with that name.")]
ScopeOption = Annotated[Any, choice("--scope", Scope, "The settings of this directory, or the user's.")]

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
    """Claude Code: .mcp.json of this directory; with --scope user, the command that adds the server."""
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
    """Cursor: .cursor/mcp.json of this directory or, with --scope user, of the user."""
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
    """VS Code: .vscode/mcp.json of this directory or, with --scope user, of the user. It asks for the token, once."""
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
        raise usage(f"{server!r} is not the slug of a server.")
    name = name or server or "scopegate"
    if not _NAME.fullmatch(name):
        raise usage(f"{name!r} is not a valid server name: use letters, digits, '_' and '-'.")
    if not _VARIABLE.fullmatch(variable):
        raise usage(f"{variable!r} is not a valid variable name.")
    path = "/mcp" if server is None else f"/mcp/{quote(server, safe='')}"
    return Entry(name, _address(session, url) + path, variable)


def _address(session: Session, url: str | None) -> str:
    """The address of Scopegate. No sign-in is needed for it."""
    profile = profiles.load_profile(profiles.selected_profile(session.profile))
    kept = profile.url if profile is not None else None
    in_environment = os.environ.get("SCOPEGATE_URL") if session.profile is None else None
    address = url or in_environment or kept
    if not address:
        raise usage("Specify the address of Scopegate: --url, SCOPEGATE_URL, or `sgctl login`.")
    if not address.startswith(("https://", "http://")):
        raise usage(f"The address must start with https:// (or http://), and {address!r} does not.")
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
        kept = f" The previous content is in {written.backup}." if written.backup else ""
        output.remark(
            f"{written.path} now contains {entry.name}.{kept}"
            if written.changed
            else f"{written.path} already contained it."
        )
    elif not output.is_json:
        output.line(client.text(entry))
        output.remark(f"Add this to {path}; --write does it.")
    if output.is_json:
        output.document(answer)
    if client.asks:
        output.remark(f"{client.title} asks for the token, and stores it.")
    else:
        output.remark(f"Set {entry.variable} to the token before {client.title} starts.")


def _by_command(session: Session, client: McpClient, entry: Entry, *, write: bool) -> None:
    command = claude_command(entry)
    if write:
        raise usage(f"{client.title} writes its user settings itself: run {command}")
    if session.output.is_json:
        session.output.document(
            {
                "client": client.title,
                "name": entry.name,
                "url": entry.url,
                "variable": entry.variable,
                "command": command,
            }
        )
    else:
        session.output.line(command)
    session.output.remark(f"Set {entry.variable} to the token before {client.title} starts.")
