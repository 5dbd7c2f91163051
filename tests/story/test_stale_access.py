"""The how-to of removing unused access, based on recorded calls."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError

from tests.api import Account
from tests.features.access.aging import age
from tests.features.principals import Sessions
from tests.serving import listener
from tests.story.service import Service, notes_server, serving, whole_service

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "find-unused-access.md"
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
async def notes() -> AsyncIterator[str]:
    """The URL of a real MCP server."""
    with listener() as sock:
        async with serving(notes_server(), sock) as url:
            yield f"{url}/mcp"


async def run_shown_command(service: Service, bearer: str, command: str, **values: str) -> Any:
    """Run a command of the page with these values in place of its examples; returns its JSON."""
    for example, value in values.items():
        assert f"<{example}>" in command
        command = command.replace(f"<{example}>", value)
    process = await asyncio.create_subprocess_exec(
        "sh", "-euc", command,
        env={**os.environ, "URL": service.url, "BEARER": bearer}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(output)


async def test_unused_access_is_removed_and_used_access_remains(
    database_url: str, owner: Account, sessions: Sessions, notes: str
) -> None:
    bearer = owner.bearer
    async with whole_service(database_url, bearer) as service:
        await service.register("notes", notes)
        issued = await service.issue()
        await service.issue(tools={"kind": "risk", "risk": ["destructive"]})
        await age(sessions, 200)
        async with service.connect("/mcp/notes", issued["secret"]) as transport, Client(transport) as client:
            assert len((await client.list_tools()).tools) == 3
            assert "world" in str((await client.call_tool("read_note", {"name": "hello"})).content)
    # A worker writes buffered uses when it ends, at the latest.
    async with whole_service(database_url, bearer) as service:
        report, ask, apply = COMMANDS[:3]
        unused, used = (await run_shown_command(service, bearer, report))["items"]
        assert (unused["state"], unused["proposal"]["action"]) == ("unused", "end")
        assert (used["state"], used["proposal"]["tools"]["names"]) == ("partly_used", ["read_note"])
        # Lists do not count as uses of resources and prompts.
        assert (used["proposal"]["resources"], used["proposal"]["prompts"]) == (False, False)
        chosen = {"grant": used["grant_id"], "digest": used["proposal"]["digest"]}
        assert (await run_shown_command(service, bearer, ask, **chosen))["items"][0]["outcome"] == "narrowed"
        async with service.connect("/mcp/notes", issued["secret"]) as transport, Client(transport) as client:
            assert len((await client.list_tools()).tools) == 3
            done = await run_shown_command(service, bearer, apply, **chosen)
            assert (done["dry_run"], done["items"][0]["grant"]["revision"]) == (False, 2)
            assert [tool.name for tool in (await client.list_tools()).tools] == ["read_note"]
            assert "world" in str((await client.call_tool("read_note", {"name": "hello"})).content)
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.call_tool("write_note", {"name": "hello", "text": "mine"})
        [left] = (await run_shown_command(service, bearer, report))["items"]
        assert left["grant_id"] == unused["grant_id"]
