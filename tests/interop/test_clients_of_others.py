"""Third-party clients use a server through the gateway as directly, and show plain errors."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.domain.token_format import TOKEN_NEEDED
from tests.api import Account
from tests.conformance.fixture_server import fixture_app
from tests.interop.clients import Command, Shown, foreign_client, remote_client
from tests.interop.others import HERE, environment, run
from tests.serving import listener
from tests.story.service import Service, serving, whole_service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GRANTED = [
    "test_simple_text",
    "test_tool_with_progress",
    "test_elicitation",
    "test_sampling",
    "test_input_required_result_elicitation",
]


@dataclass(frozen=True, slots=True)
class Bench:
    """The service and the fixture server, with a token for some of its tools and all its parts."""

    service: Service
    fleet: bool
    token_id: str
    token: str
    connect: dict[str, Any]

    @property
    def url(self) -> str:
        """The URL of ``/mcp``, or of the mirror."""
        return f"{self.service.url}/mcp" if self.fleet else f"{self.service.url}/mcp/fixture"

    def named(self, name: str) -> str:
        """Return the name of a tool or prompt at the endpoint."""
        return f"fixture__{name}" if self.fleet else name

    def placed(self, uri: str) -> str:
        """Return the URI of a resource at the endpoint."""
        return f"mcp+fixture+{uri}" if self.fleet else uri

    async def revoke(self) -> None:
        path = f"/api/v1/tokens/{self.token_id}/revoke"
        answer = await self.service.api.post(path, json={"reason": "left"})
        assert answer.status_code == 200, answer.text


@pytest.fixture(params=["/mcp/fixture", "/mcp"])
async def bench(request: pytest.FixtureRequest, database_url: str, owner: Account) -> AsyncIterator[Bench]:
    async with whole_service(database_url, owner.bearer) as service:
        with listener() as sock:
            async with serving(fixture_app(), sock) as url:
                await service.register("fixture", f"{url}/mcp")
                rights = {"tools": {"kind": "names", "names": GRANTED}, "resources": True, "prompts": True}
                issued = await service.issue(**rights)
                yield Bench(
                    service,
                    request.param == "/mcp",
                    issued["token"]["id"],
                    issued["secret"],
                    issued["connect"],
                )


async def check(command: Command, bench: Bench, asking: str) -> None:
    """Check the features of a client. ``asking``: the tool with an elicitation."""
    assert set(await command("tools")) == {bench.named(name) for name in GRANTED}
    called = await command("call", name=bench.named("test_simple_text"), arguments={})
    assert not called["error"]
    assert "This is a simple text response" in called["text"]
    assert bench.named("test_simple_prompt") in await command("prompts")
    filled = await command(
        "prompt", name=bench.named("test_prompt_with_arguments"), arguments={"arg1": "a", "arg2": "b"}
    )
    assert "arg1='a'" in filled
    assert bench.placed("test://static-text") in await command("resources")
    assert "Data for ID: 7" in await command("resource", uri=bench.placed("test://template/7/data"))
    await command("call", name=bench.named("test_tool_with_progress"), arguments={})
    if asking != "test_elicitation" or not bench.fleet:
        arguments = {"message": "Who are you?"} if asking == "test_elicitation" else {}
        assert "Ada" in (await command("call", name=bench.named(asking), arguments=arguments))["text"]
    heard = str(await command("heard"))
    assert "100" in heard, "how the call went"
    with pytest.raises(Shown, match=f"Unknown tool: {bench.named('test_error_handling')}"):
        await command("call", name=bench.named("test_error_handling"), arguments={})
    await bench.revoke()
    with pytest.raises(Shown):
        await command("call", name=bench.named("test_simple_text"), arguments={})


@pytest.mark.parametrize(
    ("mode", "asking"), [("auto", "test_input_required_result_elicitation"), ("legacy", "test_elicitation")]
)
async def test_the_fastmcp_client(bench: Bench, mode: str, asking: str) -> None:
    async with foreign_client("fastmcp", bench.url, bench.token, mode) as command:
        await check(command, bench, asking)


async def test_the_client_of_the_first_python_sdk(bench: Bench) -> None:
    async with foreign_client("mcp1", bench.url, bench.token) as command:
        await check(command, bench, "test_elicitation")


APPROVAL = """
@require_approval("Approvers")
forbid (principal, action == Action::"call_tool", resource == Tool::"fixture/test_simple_text");
"""


@pytest.mark.parametrize("arguments", [("fastmcp", "auto"), ("fastmcp", "legacy"), ("mcp1",)])
async def test_a_client_is_walked_through_an_approval(bench: Bench, arguments: tuple[str, ...]) -> None:
    await bench.service.publish(APPROVAL)
    name, *mode = arguments
    async with foreign_client(name, bench.url, bench.token, *mode) as command:
        call = {"name": bench.named("test_simple_text"), "arguments": {}}
        if mode == ["auto"]:
            calling: asyncio.Future[Any] = asyncio.ensure_future(command("call", **call))
            url = await approve(bench)
            assert "This is a simple text response" in (await calling)["text"]
            assert url in await command("heard")
        else:
            assert "This is a simple text response" in await repeat(command, bench)


async def test_mcp_remote_is_walked_through_an_approval(bench: Bench, tmp_path: Path) -> None:
    await bench.service.publish(APPROVAL)
    async with by_mcp_remote(bench, tmp_path) as command:
        assert "This is a simple text response" in await repeat(command, bench)


async def repeat(command: Command, bench: Bench) -> str:
    """Call, approve the call at the shown URL, and call again; returns the result."""
    call = {"name": bench.named("test_simple_text"), "arguments": {}}
    try:
        shown_text = (await command("call", **call))["text"]
    except Shown as shown:
        shown_text = str(shown)
    assert await approve(bench) in shown_text
    return str((await command("call", **call))["text"])


async def approve(bench: Bench) -> str:
    """Approve the next pending approval; returns its URL."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(50):
        while not found:
            listed = await bench.service.api.get("/api/v1/approvals", params={"state": "pending"})
            found = listed.json()["items"]
    (approval,) = found
    await bench.service.post(f"/approvals/{approval['id']}/approve", {}, 200)
    return f"{bench.service.url}/console/approvals/{approval['id']}"


@asynccontextmanager
async def by_mcp_remote(bench: Bench, home: Path) -> AsyncIterator[Command]:
    """Run ``mcp-remote`` with the settings for Claude Desktop."""
    text = bench.connect["claude_desktop"]["text"].replace("<the token>", bench.token)
    entry = json.loads(text)["mcpServers"]["scopegate"]
    arguments = [bench.url if part == bench.connect["url"] else part for part in entry["args"]]
    async with remote_client(entry["command"], arguments, entry["env"], home) as command:
        yield command


async def test_mcp_remote_as_claude_desktop_runs_it(bench: Bench, tmp_path: Path) -> None:
    async with by_mcp_remote(bench, tmp_path) as command:
        await check(command, bench, "test_elicitation")


async def test_the_inspector(bench: Bench, tmp_path: Path) -> None:
    async def inspector(*arguments: str) -> str:
        return await run(
            "mcp-inspector", "--cli", bench.url, "--transport", "http",
            "--header", f"Authorization: Bearer {bench.token}", *arguments,
            cwd=HERE, env=environment(HOME=str(tmp_path)),
        )  # fmt: skip

    listed = json.loads(await inspector("--method", "tools/list"))["tools"]
    assert {tool["name"] for tool in listed} == {bench.named(name) for name in GRANTED}
    call = ("--method", "tools/call", "--tool-name")
    assert "This is a simple text response" in await inspector(*call, bench.named("test_simple_text"))
    # The client checks the list before it calls, and reports the error itself.
    assert "not found on server" in await inspector(*call, bench.named("test_error_handling"))
    read = await inspector("--method", "resources/read", "--uri", bench.placed("test://template/7/data"))
    assert "Data for ID: 7" in read
    assert bench.named("test_simple_prompt") in await inspector("--method", "prompts/list")
    await bench.revoke()
    assert "test_simple_text" not in await inspector("--method", "tools/list")


async def test_clients_show_the_message_for_an_expired_token(bench: Bench, tmp_path: Path) -> None:
    await bench.revoke()
    header, env = f"Authorization: Bearer {bench.token}", environment(HOME=str(tmp_path))
    commands = {
        "mcp-remote": ("mcp-remote", bench.url, "--header", header),
        "the Inspector": (
            *("mcp-inspector", "--cli", bench.url, "--transport", "http", "--header", header),
            *("--stored-auth-only", "--method", "tools/list"),
        ),
    }
    for name, command in commands.items():
        shown = await run(*command, cwd=HERE, env=env)
        assert TOKEN_NEEDED in shown, name
        assert "ZodError" not in shown, name
