"""The real ``mcp`` client, in both eras, through the gateway to real servers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from app.domain.policy import Effect
from tests.gateway.upstreams import reference
from tests.gateway.world import CREDENTIAL, World, running

ERAS = [("auto", True, False), ("auto", False, False), ("legacy", True, True), ("legacy", True, False)]
Mode = Literal["auto", "legacy"]


@asynccontextmanager
async def connect(world: World, token: str, path: str, mode: Mode) -> AsyncIterator[Client]:
    async with world.client(token) as http_client:
        transport = streamable_http_client(f"{world.url}{path}", http_client=http_client)
        async with Client(transport, mode=mode) as client:
            yield client


@pytest.mark.parametrize(("mode", "modern", "json_response"), ERAS)
async def test_a_client_lists_and_calls_what_it_may_and_nothing_else(
    mode: Mode, modern: bool, json_response: bool
) -> None:
    async with running() as world, reference(modern=modern, json_response=json_response) as (url, seen):
        server = await world.register("calc", url)
        token = world.store.issue(world.store.grant(server, "add", "steps"))
        seen.requests.clear()
        async with connect(world, token, "/mcp/calc", mode) as client:
            tools = await client.list_tools()
            assert [tool.name for tool in tools.tools] == ["add", "steps"]
            answer = await client.call_tool("add", {"a": 2, "b": 3})
            assert answer.structured_content == {"result": 5}
            with pytest.raises(MCPError, match="Unknown tool: leak"):
                await client.call_tool("leak", {})
        assert [body["params"]["name"] for _, body in seen.of("tools/call")] == ["add"]
        for _, headers, _body in seen.requests:
            assert headers[b"authorization"] == b"Bearer " + CREDENTIAL
            assert token.encode() not in b"".join(headers.values())
        allowed = world.store.admitted("tool.call")
        assert [world.store.outcomes[call.id] for call in allowed] == ["success"]
        denied = [call for call in world.store.calls if not call.decision.allowed]
        assert [(call.tool, call.decision.reason_code) for call in denied] == [("leak", "no_grant")]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_progress_arrives_and_the_credential_does_not(mode: Mode) -> None:
    async with running() as world, reference() as (url, _seen):
        token = world.store.issue(world.store.grant(await world.register("calc", url)))
        steps: list[float] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            steps.append(progress)

        async with connect(world, token, "/mcp/calc", mode) as client:
            await client.call_tool("steps", {}, progress_callback=on_progress)
            assert steps == [0, 1, 2]
            answer = await client.call_tool("leak", {})
            assert CREDENTIAL.decode() not in answer.model_dump_json()
            assert "[redacted]" in answer.model_dump_json()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_policy_denial_is_a_result_that_says_why(mode: Mode) -> None:
    async with running() as world, reference() as (url, seen):
        token = world.store.issue(world.store.grant(await world.register("calc", url)))
        world.store.policies.verdicts["add"] = Effect.DENY
        async with connect(world, token, "/mcp/calc", mode) as client:
            answer = await client.call_tool("add", {"a": 1, "b": 2})
            assert answer.is_error
            assert "Policy" in str(answer.content)
        assert not seen.of("tools/call")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_revoked_token_is_told_what_to_do(mode: Mode) -> None:
    async with running() as world, reference() as (url, _seen):
        token = world.store.issue(world.store.grant(await world.register("calc", url)))
        world.store.change(token, revoked=True)
        with pytest.raises(Exception) as failure:  # noqa: PT011  a group of the client's own making
            async with connect(world, token, "/mcp/calc", mode) as client:
                await client.list_tools()
        assert "needs a valid Scopegate token" in str(_leaf(failure.value))
        assert world.store.refused


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
