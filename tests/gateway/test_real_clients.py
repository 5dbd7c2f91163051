"""The real ``mcp`` client, in both eras, through the gateway to real servers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal
from uuid import uuid4

import pytest
from mcp import Client, MCPError, UrlElicitationRequiredError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult

from app.admission.store import ApprovalState, NeededApproval, Withheld
from app.domain.policy import ApprovalDemand, Effect
from app.lib.ids import APPROVAL, format_id
from tests.gateway.upstreams import reference
from tests.gateway.world import CREDENTIAL, World, running

ERAS = [("auto", True, False), ("auto", False, False), ("legacy", True, True), ("legacy", True, False)]
Mode = Literal["auto", "legacy"]


@asynccontextmanager
async def connect(world: World, token: str, path: str, mode: Mode, lead: Any = None) -> AsyncIterator[Client]:
    async with world.client(token) as http_client:
        transport = streamable_http_client(f"{world.url}{path}", http_client=http_client)
        async with Client(transport, mode=mode, elicitation_callback=lead) as client:
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


@pytest.mark.parametrize(("path", "name"), [("/mcp/calc", "add"), ("/mcp", "calc__add")])
async def test_a_modern_client_opens_the_approval_and_gets_its_answer(path: str, name: str) -> None:
    shown: list[str] = []
    async with running() as world, reference() as (url, seen):
        token = world.store.issue(world.store.grant(await world.register("calc", url)))
        needed = needing(world)

        async def lead(_context: Any, params: Any) -> ElicitResult:
            shown.append(params.url)
            world.store.withheld = lambda _call: None
            world.store.approvals.decided.set()
            return ElicitResult(action="accept")

        async with connect(world, token, path, "auto", lead) as client:
            answer = await client.call_tool(name, {"a": 2, "b": 3})
        assert answer.structured_content == {"result": 5}
        assert shown == [f"http://127.0.0.1:8080/console/approvals/{format_id(APPROVAL, needed.id)}"]
        assert world.store.approvals.waited_for == [{needed.id}]
        assert len(seen.of("tools/call")) == 1


@pytest.mark.parametrize(("path", "name"), [("/mcp/calc", "add"), ("/mcp", "calc__add")])
async def test_a_legacy_client_opens_the_approval_and_repeats_its_call(path: str, name: str) -> None:
    async def lead(_context: Any, _params: Any) -> ElicitResult:
        return ElicitResult(action="accept")

    async with running() as world, reference(modern=False) as (url, seen):
        token = world.store.issue(world.store.grant(await world.register("calc", url)))
        needed = needing(world)
        async with connect(world, token, path, "legacy", lead) as client:
            with pytest.raises(MCPError, match="Approvers") as failure:
                await client.call_tool(name, {"a": 2, "b": 3})
            (elicitation,) = UrlElicitationRequiredError.from_error(failure.value.error).elicitations
            assert elicitation.elicitation_id == format_id(APPROVAL, needed.id)
            assert elicitation.url.endswith(f"/console/approvals/{elicitation.elicitation_id}")
            world.store.withheld = lambda _call: None
            assert (await client.call_tool(name, {"a": 2, "b": 3})).structured_content == {"result": 5}
        async with connect(world, token, path, "legacy") as client:
            world.store.withheld = lambda call: Withheld(call.decision, (needed,))
            answer = await client.call_tool(name, {"a": 2, "b": 3})
            assert answer.is_error
            assert f"/approvals/{elicitation.elicitation_id}" in str(answer.content), (
                "a client without URL elicitation gets a text"
            )
        assert len(seen.of("tools/call")) == 1


def needing(world: World) -> NeededApproval:
    """Have every call of the tool need this approval."""
    world.store.policies.asks["add"] = (ApprovalDemand(uuid4(), 1, "Approvers"),)
    needed = NeededApproval(uuid4(), "Approvers", ApprovalState.ASKED, 1_900_000_000.0)
    world.store.withheld = lambda call: Withheld(call.decision, (needed,))
    return needed


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_revoked_token_gets_instructions(mode: Mode) -> None:
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
