"""``/mcp``: input requests of a modern server go only to modern clients, and states stay with their token."""

from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.conformance.fixture_server import fixture_app
from tests.gateway.messages import LEGACY, MODERN, call, initialize, post, post_modern, request
from tests.gateway.mirror.test_input_rounds import QUESTIONS, TOOLS, again, asking
from tests.gateway.test_real_clients_parts import fill_in
from tests.gateway.upstreams import scripted, send_json
from tests.gateway.world import running, serve

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


@pytest.mark.parametrize(
    "message",
    [
        call("calc__add"),
        request("prompts/get", {"name": "calc__add"}),
        request("resources/read", {"uri": "mcp+calc+r://1"}),
    ],
)
async def test_input_requests_are_forwarded_and_the_server_gets_its_state_back(
    message: dict[str, Any],
) -> None:
    async with running() as world, scripted(asking) as (url, seen):
        world.store.register("calc", url, (MODERN,), TOOLS)
        token = world.store.issue(world.store.grant(resources=True, prompts=True))
        async with world.client(token) as client:
            first = (await post_modern(client, "/mcp", message)).json()["result"]
            assert first["inputRequests"] == QUESTIONS
            assert first["requestState"] != "stäte"
            second = await again(client, message, first["requestState"], "/mcp")
            assert second.json()["result"]["resultType"] == "complete"
        params = seen.requests[-1][2]["params"]
        assert params["requestState"] == "stäte"
        assert params["inputResponses"] == {"name": {"action": "accept"}}
        assert params["_meta"][CAPABILITIES] == {"elicitation": {"form": {}, "url": {}}}
        assert len([call for call in world.store.calls if call.decision.allowed]) == 2


async def test_a_state_is_of_use_to_its_token_for_its_name_alone() -> None:
    async with running() as world, scripted(asking) as (url, seen):
        for slug in ("calc", "copy"):
            world.store.register(slug, url, (MODERN,), TOOLS)
        grant = world.store.grant(prompts=True)
        async with (
            world.client(world.store.issue(grant)) as client,
            world.client(world.store.issue(grant)) as other,
        ):
            first = await post_modern(client, "/mcp", call("calc__add"))
            state = first.json()["result"]["requestState"]
            mirrored = await post_modern(client, "/mcp/calc", call("add"))
            seen.requests.clear()
            for got in (
                await again(other, call("calc__add"), state, "/mcp"),
                await again(client, call("copy__add"), state, "/mcp"),
                await again(client, call("calc__other"), state, "/mcp"),
                await again(client, call("add"), state),
                await again(client, call("calc__add"), mirrored.json()["result"]["requestState"], "/mcp"),
                await again(client, request("prompts/get", {"name": "calc__add"}), state, "/mcp"),
                await again(client, call("calc__add"), "stäte", "/mcp"),
                await again(client, call("calc__add"), 5, "/mcp"),
            ):
                assert (got.status_code, got.json()["error"]["code"]) == (400, -32602)
            assert not seen.requests


async def legacy_call(client: httpx2.AsyncClient, message: dict[str, Any]) -> Any:
    session = (await post(client, "/mcp", initialize())).headers["mcp-session-id"]
    return (await post(client, "/mcp", message, mcp_session_id=session)).json()


async def test_a_legacy_client_gets_no_input_requests_and_sends_no_state() -> None:
    async with running() as world, scripted(asking) as (url, seen):
        world.store.register("calc", url, (MODERN,), TOOLS)
        async with world.client(world.store.issue(world.store.grant(prompts=True))) as client:
            message = call("calc__add")
            forged = {"requestState": "stäte", "inputResponses": {"name": {"action": "accept"}}}
            answer = await legacy_call(client, {**message, "params": {**message["params"], **forged}})
            assert answer["result"]["isError"] is True
            assert "resultType" not in answer["result"]
            params = seen.requests[-1][2]["params"]
            assert not {"requestState", "inputResponses"} & set(params)
            assert params["_meta"][CAPABILITIES] == {}
            refused = await legacy_call(client, request("prompts/get", {"name": "calc__add"}))
            assert refused["error"]["code"] == -32603


async def test_a_legacy_server_gets_no_input_responses() -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        result: dict[str, Any] = {"content": []}
        if message["method"] == "initialize":
            result = {
                "protocolVersion": LEGACY,
                "capabilities": {},
                "serverInfo": {"name": "x", "version": "1"},
            }
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message.get("id"), "result": result})

    async with running() as world, scripted(script) as (url, seen):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            message = call("calc__add")
            body = {**message, "params": {**message["params"], "inputResponses": {"a": {}}}}
            assert (await post_modern(client, "/mcp", body)).json()["result"]["resultType"] == "complete"
        (sent,) = [body for _, body in seen.of("tools/call")]
        assert sent["params"] == {"name": "add"}


async def test_the_real_client_answers_input_requests_through_the_gateway() -> None:
    async with running() as world, serve(fixture_app(), lifespan="on") as origin:
        await world.register("fixture", f"{origin}/mcp")
        async with world.client(world.store.issue(world.store.grant())) as http_client:
            transport = streamable_http_client(f"{world.url}/mcp", http_client=http_client)
            async with Client(transport, mode="auto", elicitation_callback=fill_in) as client:
                answer = await client.call_tool("fixture__test_input_required_result_elicitation", {})
                assert "Ada" in str(answer.content)
