"""Adding a server to the settings file of an MCP client, without changes of its other content."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from scopegate_client.cli import jsonc
from scopegate_client.cli.failing import ExitCode, Failed
from scopegate_client.cli.mcp_clients import Entry, McpClient
from scopegate_client.cli.private_files import write_atomically


@dataclass(frozen=True, slots=True)
class Written:
    """The change of a settings file."""

    path: Path
    changed: bool
    backup: Path | None


def write_settings(client: McpClient, entry: Entry, path: Path, *, replace: bool) -> Written:
    """Add the entry to the file, and keep the previous content in a backup next to it."""
    path = path.resolve()  # A symbolic link stays one.
    try:
        before = path.read_bytes()
    except FileNotFoundError:
        before = None
    text = _text(path, before or b"")
    there = _read(client, path, text)
    wanted = _merged(client, entry, there)
    if wanted == there:
        return Written(path, changed=False, backup=None)
    known = there.get(client.servers, {}).get(entry.name)
    if known is not None and known != client.server(entry) and not replace:
        raise Failed(
            f"{path} has another server with the name {entry.name}: use --replace, or another --name.",
            ExitCode.CONFLICT,
        )
    after = _edited(client, entry, path, text, there)
    if _read(client, path, after) != wanted:
        raise Failed(f"{path} cannot be changed without losing content: add the settings by hand.")
    path.parent.mkdir(parents=True, exist_ok=True)
    backup = None if before is None else _back_up(path, before)
    mode = path.stat().st_mode & 0o777 if before is not None else 0o644
    write_atomically(path, after.encode(), mode)
    return Written(path, changed=True, backup=backup)


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Failed(f"{path} is not text in UTF-8.") from None


def _read(client: McpClient, path: Path, text: str) -> dict[str, Any]:
    try:
        there = tomllib.loads(text) if client.toml else jsonc.read(text)
    except ValueError as error:
        kind = "TOML" if client.toml else "JSON"
        raise Failed(f"{path} is not {kind}, and was not changed: {error}.") from None
    fits = (
        isinstance(there, dict)
        and isinstance(there.get(client.servers, {}), dict)
        and isinstance(there.get("inputs", []), list)
    )
    if not fits:
        raise Failed(f"{path} is not valid for {client.title}, and was not changed.")
    return cast(dict[str, Any], there)


def _merged(client: McpClient, entry: Entry, there: dict[str, Any]) -> dict[str, Any]:
    """The new value of the file."""
    servers = {**there.get(client.servers, {}), entry.name: client.server(entry)}
    inputs = [*there.get("inputs", []), *_missing_inputs(client, entry, there)]
    return {**there, client.servers: servers, **({"inputs": inputs} if inputs else {})}


def _missing_inputs(client: McpClient, entry: Entry, there: dict[str, Any]) -> list[dict[str, Any]]:
    known = {each.get("id") for each in there.get("inputs", []) if isinstance(each, dict)}
    return [each for each in client.inputs(entry) if each["id"] not in known]


def _edited(client: McpClient, entry: Entry, path: Path, text: str, there: dict[str, Any]) -> str:
    """The text with the entry."""
    if client.toml:
        return _edited_toml(client, entry, path, text)
    windows = "\r\n" in text
    text = text.replace("\r\n", "\n") if text.strip() else "{}\n"
    try:
        for each in _missing_inputs(client, entry, there):
            text = jsonc.append(text, "inputs", each)
        text = jsonc.put(text, [client.servers, entry.name], client.server(entry))
    except jsonc.NotJson as error:
        raise Failed(f"{path} was not changed: {error}.") from None
    return text.replace("\n", "\r\n") if windows else text


def _edited_toml(client: McpClient, entry: Entry, path: Path, text: str) -> str:
    import tomlkit  # noqa: PLC0415 - takes a while to load, and is for this alone
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415

    try:
        document = tomlkit.parse(text)
        if client.servers not in document:
            document.add(client.servers, tomlkit.table(is_super_table=True))
        table = tomlkit.table()
        table.update(client.server(entry))
        table.add(tomlkit.nl())
        servers: Any = document[client.servers]
        servers[entry.name] = table
        return tomlkit.dumps(document).rstrip("\n") + "\n"
    except TOMLKitError as error:
        raise Failed(f"{path} was not changed: {error}.") from None


def _back_up(path: Path, content: bytes) -> Path:
    """Copy the previous content to a new file next to it, with the same mode, since it may contain a token."""
    count = 1
    while True:
        backup = path.with_name(f"{path.name}.bak" if count == 1 else f"{path.name}.bak{count}")
        if not backup.exists():
            write_atomically(backup, content, path.stat().st_mode & 0o777)
            return backup
        count += 1
