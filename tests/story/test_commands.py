"""Stdio servers, from their registration to the end of their processes, with the real client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp_types import ElicitResult

from app.outbound.stdio import VARIABLE
from tests.api import Account
from tests.story.service import Service, whole_service
from tests.story.test_main_job import events, issue
from tests.supervisor.world import ALLOWED, PLAIN, PYTHON, World, alive, call, supervising, until

VALUE = "a-secret-value-0123456789"


@dataclass
class Plain:
    """The service with one stdio server."""

    service: Service
    world: World
    id: str

    @asynccontextmanager
    async def client(self, secret: str, path: str = "/mcp/plain", **options: Any) -> AsyncIterator[Client]:
        """Connect the real client with a token."""
        async with self.service.connect(path, secret) as transport, Client(transport, **options) as client:
            yield client

    async def patch(self, path: str, body: dict[str, Any]) -> None:
        """Make a change that must succeed."""
        answer = await self.service.api.patch(f"/api/v1{path}", json=body)
        assert answer.status_code == 200, answer.text


@pytest.fixture
async def plain(
    database_url: str, owner: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Plain]:
    async with supervising(tmp_path) as world:
        monkeypatch.setenv(VARIABLE, world.address.written()[VARIABLE])
        async with whole_service(database_url, owner.bearer, stdio_allowed_commands=ALLOWED) as service:
            body = {
                "slug": "plain",
                "transport": "stdio",
                "command": PYTHON,
                "args": [PLAIN],
                "env_names": ["API_KEY"],
            }
            server = await service.post("/servers", body)
            path = f"/api/v1/servers/{server['id']}"
            credential = {"kind": "env", "variables": {"API_KEY": VALUE}}
            assert (await service.api.put(f"{path}/credential", json=credential)).status_code == 200
            synced = await service.sync(server["id"])
            assert synced["sync"]["state"] == "ok", synced
            assert synced["sync"]["protocol_versions"][0] == "2026-07-28"
            yield Plain(service, world, server["id"])


async def text(client: Client, tool: str) -> str:
    """Call a tool and return its answer."""
    result: Any = await client.call_tool(tool, {})
    return str(result.content[0].text)


async def token(plain: Plain) -> tuple[str, str, str]:
    """Create a person with access to the whole server; returns token, secret and grant."""
    return await issue(plain.service, ["read", "write", "destructive", "unknown"])


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/mcp/plain", "auto"),
        pytest.param("/mcp/plain", "legacy", marks=pytest.mark.slow),
        pytest.param("/mcp", "auto", marks=pytest.mark.slow),
        ("/mcp", "legacy"),
    ],
)
async def test_a_command_is_a_server_like_any_other_and_two_tokens_share_no_process(
    plain: Plain, path: str, mode: Any
) -> None:
    prefix = "plain__" if path == "/mcp" else ""
    (token_id, mine, _), (_, theirs, _) = await token(plain), await token(plain)
    async with plain.client(mine, path, mode=mode) as client, plain.client(theirs, path, mode=mode) as other:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert f"{prefix}count" in names
        assert await text(client, f"{prefix}pid") != await text(other, f"{prefix}pid")
        assert [await text(client, f"{prefix}count") for _ in range(2)] == ["1", "2"]
        assert await text(other, f"{prefix}count") == "1"
        environment = json.loads(await text(client, f"{prefix}environment"))
        assert environment["API_KEY"] == "[redacted]"
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool(f"{prefix}who", {})
    calls = await events(plain.service, token_id, action="tool.call")
    assert {call["outcome"] for call in calls if call["decision"] == "allow"} == {"success"}


async def test_messages_of_a_program_reach_only_its_client(plain: Plain) -> None:
    async def answer(_context: Any, _params: Any) -> ElicitResult:
        return ElicitResult(action="decline")

    steps: list[float] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    _, secret, _ = await token(plain)
    async with plain.client(secret, mode="legacy", elicitation_callback=answer) as client:
        assert await text(client, "ask") == "decline"
        await client.call_tool("progress", {}, progress_callback=heard)
    assert steps == [1, 2]


async def end_token(plain: Plain, held: tuple[str, str, str]) -> None:
    await plain.service.post(f"/tokens/{held[0]}/revoke", {"reason": "test"}, 200)


async def end_grant(plain: Plain, held: tuple[str, str, str]) -> None:
    assert (await plain.service.api.delete(f"/api/v1/grants/{held[2]}")).status_code == 204


async def suspend(plain: Plain, held: tuple[str, str, str]) -> None:
    identity = (await plain.service.api.get(f"/api/v1/tokens/{held[0]}")).json()["identity_id"]
    await plain.service.post(f"/identities/{identity}/suspend", {"reason": "test"}, 200)


async def disable(plain: Plain, held: tuple[str, str, str]) -> None:
    await plain.patch(f"/servers/{plain.id}", {"status": "disabled"})


async def change_credential(plain: Plain, held: tuple[str, str, str]) -> None:
    body = {"kind": "env", "variables": {"API_KEY": "another-value-0123456789"}}
    assert (
        await plain.service.api.put(f"/api/v1/servers/{plain.id}/credential", json=body)
    ).status_code == 200


async def change_command(plain: Plain, held: tuple[str, str, str]) -> None:
    assert (await plain.service.api.delete(f"/api/v1/servers/{plain.id}/credential")).status_code == 204
    await plain.patch(f"/servers/{plain.id}", {"args": [PLAIN, "--other"]})


OTHER_WAYS = [
    pytest.param(end, marks=pytest.mark.slow) for end in (end_grant, suspend, disable, change_command)
]


@pytest.mark.parametrize("end", [end_token, change_credential, *OTHER_WAYS])
async def test_processes_end_with_the_right_the_command_or_the_credential(plain: Plain, end: Any) -> None:
    held = await token(plain)
    async with plain.client(held[1], mode="legacy") as client, plain.client(held[1]) as modern:
        pids = [int(await text(client, "pid")), int(await text(modern, "pid"))]
        assert all(map(alive, pids))
        await end(plain, held)
        # No further call is needed for it.
        await until(lambda: not any(map(alive, pids)))
        with pytest.raises(Exception):  # noqa: B017, PT011
            await client.send_ping()


async def test_a_change_without_withdrawal_ends_no_process(plain: Plain) -> None:
    held = await token(plain)
    async with plain.client(held[1], mode="legacy") as client:
        pid = await text(client, "pid")
        await plain.patch(f"/servers/{plain.id}", {"labels": {"env": "prod"}})
        # Another withdrawal shows that running calls were reevaluated.
        other = await token(plain)
        async with plain.client(other[1], mode="legacy") as theirs:
            gone = int(await text(theirs, "pid"))
            await end_token(plain, other)
            await until(lambda: not alive(gone))
        assert await text(client, "pid") == pid


async def test_a_call_in_flight_is_cut_with_its_process(plain: Plain) -> None:
    held = await token(plain)
    async with plain.client(held[1], mode="legacy") as client:
        pid = int(await text(client, "pid"))
        waiting = asyncio.create_task(client.call_tool("silent", {}))
        async with asyncio.timeout(50):
            while len(await events(plain.service, held[0], action="tool.call")) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await end_token(plain, held)
        await until(lambda: not alive(pid))
        with pytest.raises(MCPError):
            await waiting


async def test_a_dying_program_fails_its_call_and_the_next_session_is_new(
    plain: Plain,
) -> None:
    token_id, secret, _ = await token(plain)
    async with plain.client(secret, mode="legacy") as client:
        with pytest.raises(MCPError, match="ended before it answered"):
            await client.call_tool("crash", {})
    async with plain.client(secret, mode="legacy") as client:
        assert await text(client, "count") == "1"
    calls = await events(plain.service, token_id, action="tool.call")
    assert [call["outcome"] for call in calls] == ["success", "error"]


async def test_the_data_of_a_deleted_server_is_removed_and_of_an_unknown_one_is_not(
    database_url: str, owner: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.worker.commands.DeletedServers.every_s", 0.05)
    async with supervising(tmp_path) as world:
        monkeypatch.setenv(VARIABLE, world.address.written()[VARIABLE])
        async with whole_service(database_url, owner.bearer, stdio_allowed_commands=ALLOWED) as service:
            ids = []
            for slug in ("deleted", "disabled"):
                body = {"slug": slug, "transport": "stdio", "command": PYTHON, "args": [PLAIN]}
                ids.append((await service.post("/servers", body))["id"])
                await service.sync(ids[-1])
            # As from a service with another database, or a server newer than a restored backup.
            async with await world.worker().legacy() as session:
                unknown = json.loads(await call(session, "who"))["data"]
            deleted, disabled = (tmp_path / "data" / id for id in ids)
            assert deleted.exists()
            await service.api.patch(f"/api/v1/servers/{ids[1]}", json={"status": "disabled"})
            assert (await service.api.delete(f"/api/v1/servers/{ids[0]}")).status_code == 204
            await until(lambda: not deleted.exists())
            assert disabled.exists()
            assert set((tmp_path / "data").iterdir()) == {disabled, Path(unknown)}


@pytest.mark.slow
async def test_an_unavailable_supervisor_is_reported_and_affects_only_its_servers(
    plain: Plain, tmp_path: Path
) -> None:
    _, secret, _ = await token(plain)
    async with plain.client(secret, mode="legacy") as client:
        assert await text(client, "count") == "1"
        (tmp_path / "socket").rename(tmp_path / "elsewhere")
        await plain.world.sessions.aclose()
        plain.world.hang_up()

        async def warned() -> bool:
            answer = await plain.service.api.get("/readyz")
            return "supervisor of commands" in answer.text

        async with asyncio.timeout(50):
            while not await warned():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        with pytest.raises(MCPError):
            await text(client, "count")
    (tmp_path / "elsewhere").rename(tmp_path / "socket")
