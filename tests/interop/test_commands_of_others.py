"""Third-party stdio servers, run by Scopegate, with the real client."""

import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import CreateMessageResult, TextContent

from app.cli.children import LOCKS
from app.outbound.stdio import VARIABLE, AllowedCommand, AllowedCommands
from app.supervisor.isolation import FREE_USERS
from tests.api import Account
from tests.interop.others import EVERYTHING, installed, node
from tests.story.service import whole_service
from tests.supervisor.world import passable_directory, supervising

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@asynccontextmanager
async def client_of(
    command: Sequence[str], database_url: str, owner: Account, users: range | None = None, **options: Any
) -> AsyncIterator[Client]:
    """Connect the real client to the service, which runs this command."""
    allowed = AllowedCommands((AllowedCommand(tuple(command)),))
    with passable_directory() as place, pytest.MonkeyPatch.context() as patch:
        async with supervising(place, users, allowed) as world:
            patch.setenv(VARIABLE, world.address.written()[VARIABLE])
            async with whole_service(database_url, owner.bearer, stdio_allowed_commands=allowed) as service:
                body = {"slug": "other", "transport": "stdio", "command": command[0], "args": [*command[1:]]}
                server = await service.post("/servers", body)
                synced = await service.sync(server["id"])
                assert synced["sync"]["state"] == "ok", synced
                secret = (await service.issue())["secret"]
                async with (
                    service.connect("/mcp/other", secret) as transport,
                    Client(transport, **options) as client,
                ):
                    yield client


def text(result: Any) -> str:
    """Return the whole text of a tool result."""
    return "".join(part.text for part in result.content if part.type == "text")


async def test_server_everything_of_npm(database_url: str, owner: Account) -> None:
    async def sample(_context: Any, _params: Any) -> CreateMessageResult:
        return CreateMessageResult(role="assistant", content=TextContent(text="sampled here"), model="none")

    steps: list[float] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    command = (str(node()), str(EVERYTHING), "stdio")
    users = FREE_USERS if os.geteuid() == 0 else None
    options: dict[str, Any] = {"mode": "legacy", "sampling_callback": sample}
    async with client_of(command, database_url, owner, users, **options) as client:
        assert "echo" in {tool.name for tool in (await client.list_tools()).tools}
        assert "hello" in text(await client.call_tool("echo", {"message": "hello"}))
        long = {"duration": 1, "steps": 2}
        await client.call_tool("trigger-long-running-operation", long, progress_callback=heard)
        assert steps == [1, 2]
        asked = await client.call_tool("trigger-sampling-request", {"prompt": "x", "maxTokens": 5})
        assert "sampled here" in text(asked)
        assert (await client.list_resources()).resources
        assert (await client.list_prompts()).prompts


@pytest.fixture(scope="module")
def servers() -> Path:
    """Where the programs of the demo fleet's servers are."""
    return installed("servers", LOCKS)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository without a commit."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_mcp_server_git_of_pypi(
    servers: Path, repository: Path, database_url: str, owner: Account, mode: Any
) -> None:
    command = (str(servers / "mcp-server-git"), "--repository", str(repository))
    async with client_of(command, database_url, owner, mode=mode) as client:
        said = await client.call_tool("git_status", {"repo_path": str(repository)})
        assert "No commits yet" in text(said)
