"""The stdio servers in docs/how-to/stdio-server.md, installed and run as described: as root and as a user."""

import json
import os
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from app.cli.children import LOCKS
from app.outbound.stdio import VARIABLE, AllowedCommand, AllowedCommands, read_commands
from app.supervisor.isolation import FREE_USERS
from tests.api import Account
from tests.interop.others import HERE, installed_for_all, node
from tests.story.service import Service, whole_service
from tests.story.test_main_job import issue
from tests.supervisor.world import passable_directory, supervising

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = (Path(__file__).parents[2] / "docs/how-to/stdio-server.md").read_text()
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives each server a user of its own")


@pytest.fixture(scope="module")
def programs() -> Iterator[Path]:
    """Install the Python programs where all users can run them."""
    with passable_directory() as place:
        installed_for_all(place, "servers", LOCKS)
        installed_for_all(place, "sqlite")
        yield place


@pytest.fixture
def files() -> Iterator[Path]:
    """Return the data of the servers, owned by the user that runs the tests."""
    with passable_directory() as place:
        (place / "wiki").mkdir()
        subprocess.run(["git", "init", "-q", str(place / "wiki")], check=True)
        (place / "shared").mkdir()
        (place / "shared/hello.txt").write_text("hello from a file\n")
        subprocess.run(["chmod", "-R", "a+rX", str(place)], check=True)
        yield place


@dataclass
class Served:
    """A command of the how-to behind the service."""

    service: Service
    server_id: str
    secret: str

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Connect the real client, with its own process."""
        async with (
            self.service.connect("/mcp/served", self.secret) as transport,
            Client(transport, mode="legacy") as client,
        ):
            yield client


@asynccontextmanager
async def served(
    entry: AllowedCommand,
    variables: Callable[[Path], dict[str, str]],
    users: range | None,
    database_url: str,
    owner: Account,
) -> AsyncIterator[Served]:
    """Register it, store its variables, read its tools and issue a token."""
    allowed, command = AllowedCommands((entry,)), entry.words
    with passable_directory() as place, pytest.MonkeyPatch.context() as patch:
        async with supervising(place, users, allowed) as world:
            patch.setenv(VARIABLE, world.address.written()[VARIABLE])
            async with whole_service(database_url, owner.bearer, stdio_allowed_commands=allowed) as service:
                names = sorted(variables(place))
                body = {"slug": "served", "transport": "stdio", "command": command[0], "args": [*command[1:]]}
                server = await service.post("/servers", {**body, "env_names": names})
                if names:
                    given = {"kind": "env", "variables": variables(place / "data" / server["id"])}
                    path = f"/api/v1/servers/{server['id']}/credential"
                    assert (await service.api.put(path, json=given)).status_code == 200
                synced = await service.sync(server["id"])
                assert synced["sync"]["state"] == "ok", synced
                _, secret, _ = await issue(service, ["read", "write", "destructive", "unknown"])
                yield Served(service, server["id"], secret)


async def use(client: Client, tool: str, **arguments: Any) -> str:
    """Call a tool; returns its text."""
    result: Any = await client.call_tool(tool, arguments)
    text = "".join(part.text for part in result.content if part.type == "text")
    assert not result.is_error, text
    return text


async def git(one: Served, files: Path) -> None:
    async with one.client() as client:
        assert "No commits yet" in await use(client, "git_status", repo_path=str(files / "wiki"))


async def filesystem(one: Served, files: Path) -> None:
    async with one.client() as client:
        path = str(files / "shared/hello.txt")
        assert "hello from a file" in await use(client, "read_text_file", path=path)


async def sqlite(one: Served, _files: Path) -> None:
    async with one.client() as client:
        await use(client, "create_table", query="CREATE TABLE notes (text TEXT)")
        await use(client, "write_query", query="INSERT INTO notes VALUES ('kept')")
    async with one.client() as client:
        assert "kept" in await use(client, "read_query", query="SELECT text FROM notes")


async def memory(one: Served, _files: Path) -> None:
    async with one.client() as client:
        ada = {"name": "Ada", "entityType": "person", "observations": ["writes programs"]}
        await use(client, "create_entities", entities=[ada])
    async with one.client() as client:
        assert "writes programs" in await use(client, "read_graph")


USES: dict[str, Any] = {
    "mcp-server-git": git,
    "mcp-server-sqlite": sqlite,
    "server-memory": memory,
    "server-filesystem": filesystem,
}


def commands() -> dict[str, AllowedCommand]:
    """Return the allowed commands of the page, by server name."""
    (written,) = re.findall(r"export SCOPEGATE_STDIO_ALLOWED_COMMANDS='(.*?)'", PAGE, re.DOTALL)
    entries = read_commands(written).entries
    return {
        next(name for name in USES if any(name in word for word in entry.words)): entry for entry in entries
    }


def variables_of(name: str) -> dict[str, str]:
    """The variables that the page has stored for a server."""
    for stored in re.findall(r"'(\{\"kind\": \"env\".*?\}\})'", PAGE, re.DOTALL):
        given: dict[str, str] = json.loads(stored)["variables"]
        if (name == "mcp-server-git") == ("GIT_CONFIG_COUNT" in given) and name in {
            "mcp-server-git",
            "server-memory",
        }:
            return given
    return {}


def test_each_server_that_the_page_names_is_run_here() -> None:
    assert set(commands()) == set(USES)


@pytest.mark.parametrize(
    "users", [pytest.param(None, id="as a user"), pytest.param(FREE_USERS, id="as root", marks=as_root)]
)
@pytest.mark.parametrize("name", USES)
async def test_a_server_of_the_how_to_works_and_keeps_its_data(
    name: str, users: range | None, programs: Path, files: Path, database_url: str, owner: Account
) -> None:
    places = {
        "/opt/mcp/git": str(programs / "servers"),
        "/opt/mcp/sqlite": str(programs / "sqlite"),
        "/opt/mcp/node": str(HERE),
        "/usr/bin/node": str(node()) if name.startswith("server-") else "",
        "/srv/": f"{files}/",
    }

    def here(word: str) -> str:
        for theirs, ours in places.items():
            word = word.replace(theirs, ours)
        return word

    def variables(data: Path) -> dict[str, str]:
        given = {name: here(value) for name, value in variables_of(name).items()}
        return {
            name: re.sub(r"/var/lib/scopegate/stdio/srv_[^/]*", str(data), text)
            for name, text in given.items()
        }

    entry = commands()[name]
    entry = replace(entry, words=tuple(map(here, entry.words)))
    async with served(entry, variables, users, database_url, owner) as one:
        await USES[name](one, files)
