"""`sgctl connect`: what becomes of the settings that were there."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scopegate_client.cli import jsonc

Sgctl = Callable[..., tuple[int, str, str]]

URL = "https://scopegate.example.com"
VSCODE_INPUT = {
    "type": "promptString",
    "id": "SCOPEGATE_TOKEN",
    "description": "Scopegate token",
    "password": True,
}
# The client, its file, what is in it before, and what has come in: the member of servers and our server.
CLIENTS = [
    (
        "claude-code",
        ".mcp.json",
        '{"mcpServers": {"mine": {"command": "x"}}, "other": 1}',
        "mcpServers",
        {
            "type": "http",
            "url": f"{URL}/mcp",
            "headers": {"Authorization": "Bearer ${SCOPEGATE_TOKEN}"},
        },
    ),
    (
        "cursor",
        ".cursor/mcp.json",
        '{\n  // mine\n  "mcpServers": {"mine": {"command": "x"},},\n  "other": 1\n}\n',
        "mcpServers",
        {"url": f"{URL}/mcp", "headers": {"Authorization": "Bearer ${env:SCOPEGATE_TOKEN}"}},
    ),
    (
        "vscode",
        ".vscode/mcp.json",
        '{\n\t// mine\n\t"inputs": [{"id": "mine"}],\n\t"servers": {"mine": {"command": "x"}},\n\t"other": 1\n}\n',
        "servers",
        {
            "type": "http",
            "url": f"{URL}/mcp",
            "headers": {"Authorization": "Bearer ${input:SCOPEGATE_TOKEN}"},
        },
    ),
    (
        "codex",
        "codex/config.toml",
        '# mine\nother = 1\n\n[mcp_servers.mine]\ncommand = "x"\n\n[profiles.a]\nmodel = "m"\n',
        "mcp_servers",
        {"url": f"{URL}/mcp", "bearer_token_env_var": "SCOPEGATE_TOKEN"},
    ),
]
EACH_CLIENT = pytest.mark.parametrize(
    ("client", "file", "before", "servers", "ours"), CLIENTS, ids=[client[0] for client in CLIENTS]
)


def read(path: Path) -> dict[str, Any]:
    """What the client reads in its file."""
    text = path.read_text()
    settings: dict[str, Any] = tomllib.loads(text) if path.suffix == ".toml" else jsonc.read(text)
    return settings


@EACH_CLIENT
def test_settings_that_are_there_stay_and_are_backed_up(
    sgctl: Sgctl, tmp_path: Path, client: str, file: str, before: str, servers: str, ours: dict[str, Any]
) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(before)
    path.chmod(0o600)
    known = read(path)
    code, out, err = sgctl("connect", client, "--url", URL, "--write")
    assert (code, out) == (0, ""), err
    assert read(path)[servers] == {"mine": {"command": "x"}, "scopegate": ours}
    assert read(path)["other"] == 1
    assert known.keys() == read(path).keys()
    assert ("mine\n" in before) == ("mine\n" in path.read_text()), "the comment is gone"
    backup = path.with_name(f"{path.name}.bak")
    assert backup.read_text() == before
    assert path.stat().st_mode & 0o777 == backup.stat().st_mode & 0o777 == 0o600
    if client == "vscode":
        assert read(path)["inputs"] == [{"id": "mine"}, VSCODE_INPUT]


@EACH_CLIENT
def test_a_second_time_changes_nothing(
    sgctl: Sgctl, tmp_path: Path, client: str, file: str, before: str, servers: str, ours: dict[str, Any]
) -> None:
    assert sgctl("connect", client, "--url", URL, "--write")[0] == 0
    path = tmp_path / file
    first = path.read_text()
    assert read(path)[servers] == {"scopegate": ours}
    code, out, _ = sgctl("connect", client, "--url", URL, "--write", "-o", "json")
    assert code == 0
    assert json.loads(out)["written"] is False
    assert path.read_text() == first
    assert [found.name for found in path.parent.glob(f"{path.name}*")] == [path.name]


@EACH_CLIENT
def test_what_is_printed_is_what_is_written(
    sgctl: Sgctl, tmp_path: Path, client: str, file: str, before: str, servers: str, ours: dict[str, Any]
) -> None:
    printed = sgctl("connect", client, "--url", URL)[1]
    assert not (tmp_path / file).exists()
    sgctl("connect", client, "--url", URL, "--write")
    parsed = tomllib.loads(printed) if client == "codex" else json.loads(printed)
    assert parsed == read(tmp_path / file)


@EACH_CLIENT
def test_a_server_of_that_name_is_replaced_only_when_told_to(
    sgctl: Sgctl, tmp_path: Path, client: str, file: str, before: str, servers: str, ours: dict[str, Any]
) -> None:
    sgctl("connect", client, "--url", "https://elsewhere.example.com", "--write")
    path = tmp_path / file
    there = path.read_text()
    code, _, err = sgctl("connect", client, "--url", URL, "--write")
    assert code == 6
    assert "--replace" in err
    assert path.read_text() == there
    assert sgctl("connect", client, "--url", URL, "--write", "--replace")[0] == 0
    assert read(path)[servers] == {"scopegate": ours}


@EACH_CLIENT
def test_a_file_that_cannot_be_read_is_left_alone(
    sgctl: Sgctl, tmp_path: Path, client: str, file: str, before: str, servers: str, ours: dict[str, Any]
) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    for broken in ('{"a":', f"{servers} = 3\n" if client == "codex" else f'{{"{servers}": 3}}'):
        path.write_text(broken)
        assert sgctl("connect", client, "--url", URL, "--write")[0] == 1
        assert path.read_text() == broken
    assert [found.name for found in path.parent.glob(f"{path.name}*")] == [path.name]


def test_one_server_by_its_own_endpoint(sgctl: Sgctl) -> None:
    printed = json.loads(sgctl("connect", "cursor", "--url", f"{URL}/", "--server", "notes")[1])
    assert printed["mcpServers"]["notes"]["url"] == f"{URL}/mcp/notes"


def test_a_link_to_the_settings_stays_a_link(sgctl: Sgctl, tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles.json"
    kept.write_text("{}")
    (tmp_path / ".mcp.json").symlink_to(kept)
    assert sgctl("connect", "claude-code", "--url", URL, "--write")[0] == 0
    assert (tmp_path / ".mcp.json").is_symlink()
    assert "scopegate" in read(kept)["mcpServers"]


def test_the_command_for_claude_code_keeps_the_token_out_of_it(sgctl: Sgctl) -> None:
    code, out, _ = sgctl("connect", "claude-code", "--scope", "user", "--url", URL)
    assert code == 0
    assert "--header 'Authorization: Bearer ${SCOPEGATE_TOKEN}'" in out


def test_windows_line_ends_stay(sgctl: Sgctl, tmp_path: Path) -> None:
    (tmp_path / ".mcp.json").write_bytes(b'{\r\n  "a": 1\r\n}\r\n')
    assert sgctl("connect", "claude-code", "--url", URL, "--write")[0] == 0
    content = (tmp_path / ".mcp.json").read_bytes()
    assert content.count(b"\n") == content.count(b"\r\n") > 5
