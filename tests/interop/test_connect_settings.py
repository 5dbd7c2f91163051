"""The connection settings of a token work with the clients that they are for."""

import json
import re
import shlex
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.api import Account
from tests.interop.others import HERE, environment, run
from tests.serving import listener
from tests.story.service import Service, notes_server, serving, whole_service

Headers = dict[str, str]
TOOLS = {"notes__read_note", "notes__write_note", "notes__delete_note"}


@pytest.fixture
async def service(database_url: str, owner: Account) -> AsyncIterator[Service]:
    async with whole_service(database_url, owner.bearer) as running:
        with listener() as sock:
            async with serving(notes_server(), sock) as url:
                await running.register("notes", f"{url}/mcp")
                yield running


def expand(text: str, pattern: str, variables: dict[str, str]) -> str:
    """Expand the variable references in a client's settings."""
    return re.sub(pattern, lambda found: variables[found[1]], text)


def claude_code(text: str, variables: dict[str, str]) -> tuple[str, Headers]:
    """``claude mcp add --transport http NAME URL --header "Name: value"``; ``${NAME}`` is expanded when it starts."""
    words = shlex.split(text)
    assert words[:5] == ["claude", "mcp", "add", "--transport", "http"]
    _name, url, flag, header = words[5:]
    assert flag == "--header"
    name, _, value = header.partition(": ")
    return url, {name: expand(value, r"\$\{(\w+)\}", variables)}


def cursor(text: str, variables: dict[str, str]) -> tuple[str, Headers]:
    """``mcpServers`` of ``mcp.json``; ``${env:NAME}`` in headers."""
    (entry,) = json.loads(text)["mcpServers"].values()
    pattern = r"\$\{env:(\w+)\}"
    return entry["url"], {name: expand(value, pattern, variables) for name, value in entry["headers"].items()}


def vscode(text: str, variables: dict[str, str]) -> tuple[str, Headers]:
    """``servers`` of ``mcp.json``; ``${input:ID}`` in headers is what the user types into the input of that id."""
    settings = json.loads(text)
    (entry,) = settings["servers"].values()
    assert entry["type"] == "http"
    typed = {asked["id"]: variables["SCOPEGATE_TOKEN"] for asked in settings["inputs"]}
    pattern = r"\$\{input:(\w+)\}"
    return entry["url"], {name: expand(value, pattern, typed) for name, value in entry["headers"].items()}


def codex(text: str, variables: dict[str, str]) -> tuple[str, Headers]:
    """``[mcp_servers.NAME]`` of ``config.toml``; the variable that ``bearer_token_env_var`` names holds the token."""
    (entry,) = tomllib.loads(text)["mcp_servers"].values()
    assert set(entry) == {"url", "bearer_token_env_var"}, "it refuses what it does not know"
    return entry["url"], {"Authorization": f"Bearer {variables[entry['bearer_token_env_var']]}"}


READERS = {"claude_code": claude_code, "cursor": cursor, "vscode": vscode, "codex": codex}


@pytest.mark.parametrize("name", READERS)
async def test_the_settings_of_a_client_connect_it(service: Service, name: str) -> None:
    issued = await service.issue()
    connect: dict[str, Any] = issued["connect"]
    url, headers = READERS[name](connect[name]["text"], {connect["variable"]: issued["secret"]})
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http_client,
        Client(streamable_http_client(url, http_client=http_client)) as client,
    ):
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_inspectors_command_lists_the_tools(service: Service, tmp_path: Path) -> None:
    issued = await service.issue()
    variables = {issued["connect"]["variable"]: issued["secret"], "HOME": str(tmp_path)}
    command = issued["connect"]["inspector"]["text"]
    # npx finds what is installed next to these tests before it looks elsewhere.
    listed = await run("sh", "-c", command, cwd=HERE, env=environment(**variables))
    assert {tool["name"] for tool in json.loads(listed)["tools"]} == TOOLS
