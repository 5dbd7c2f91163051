"""Input requests of a modern server: the next round is decided again, and its state belongs to the token."""

from typing import Any

import httpx2
import pytest

from app.domain.access import FLEET_ID
from app.domain.policy import Effect
from tests.gateway.messages import MODERN, call, modern, post_modern, request
from tests.gateway.upstreams import scripted, send_json
from tests.gateway.world import running

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("add", "other")]
QUESTIONS = {"name": {"method": "elicitation/create", "params": {"message": "Who?"}}}


async def asking(message: dict[str, Any], receive: Any, send: Any) -> None:
    result: dict[str, Any] = {"resultType": "complete", "content": []}
    if "inputResponses" not in message["params"]:
        result = {"resultType": "input_required", "inputRequests": QUESTIONS, "requestState": "stäte"}
    await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})


async def again(
    client: httpx2.AsyncClient, message: dict[str, Any], state: Any, path: str = "/mcp/calc"
) -> httpx2.Response:
    params = {**message["params"], "inputResponses": {"name": {"action": "accept"}}, "requestState": state}
    return await post_modern(client, path, {**message, "params": params})


@pytest.mark.parametrize(
    "message",
    [call("add"), request("prompts/get", {"name": "add"}), request("resources/read", {"uri": "r://1"})],
)
async def test_input_requests_are_forwarded_and_the_server_gets_its_state_back(
    message: dict[str, Any],
) -> None:
    async with running() as world, scripted(asking) as (url, seen):
        world.store.register("calc", url, (MODERN,), TOOLS)
        token = world.store.issue(world.store.grant(resources=True, prompts=True))
        async with world.client(token) as client:
            first = (await post_modern(client, "/mcp/calc", message)).json()["result"]
            assert first["inputRequests"] == QUESTIONS
            assert first["requestState"] != "stäte"
            second = await again(client, message, first["requestState"])
            assert second.json()["result"]["resultType"] == "complete"
            assert seen.requests[-1][2]["params"]["requestState"] == "stäte"
        assert len([call for call in world.store.calls if call.decision.allowed]) == 2


async def test_a_state_is_of_use_to_its_token_for_its_tool_of_its_server_alone() -> None:
    async with running() as world, scripted(asking) as (url, seen):
        for slug in ("calc", "copy"):
            world.store.register(slug, url, (MODERN,), TOOLS)
        grant = world.store.grant(prompts=True)
        async with (
            world.client(world.store.issue(grant)) as client,
            world.client(world.store.issue(grant)) as other,
        ):
            first = await post_modern(client, "/mcp/calc", call("add"))
            state = first.json()["result"]["requestState"]
            seen.requests.clear()
            for got in (
                await again(other, call("add"), state),
                await again(client, call("add"), state, "/mcp/copy"),
                await again(client, call("other"), state),
                await again(client, request("prompts/get", {"name": "add"}), state),
                await again(client, call("add"), "stäte"),
                await again(client, call("add"), state[:-2]),
                await again(client, call("add"), 5),
            ):
                assert (got.status_code, got.json()["error"]["code"]) == (400, -32602)
            assert not seen.requests


@pytest.mark.parametrize(("path", "name"), [("/mcp/{}", "add"), ("/mcp", "{}__add")])
async def test_a_forged_state_tells_nothing_of_what_is_out_of_reach(path: str, name: str) -> None:
    async with running() as world, scripted(asking) as (url, _):
        for slug in ("calc", "copy"):
            world.store.register(slug, url, (MODERN,), TOOLS)
        async with world.client(world.store.issue(world.store.grant(world.store.servers["calc"]))) as client:
            there, nowhere = [
                await again(client, call(name.format(slug)), "forged", path.format(slug))
                for slug in ("copy", "none")
            ]
            assert there.status_code == nowhere.status_code
            assert there.text.replace("copy", "none") == nowhere.text
            answer = await again(client, call(name.format("calc")), "forged", path.format("calc"))
            assert "requestState" in answer.json()["error"]["message"]


async def test_the_next_round_is_decided_again() -> None:
    async with running() as world, scripted(asking) as (url, seen):
        world.store.register("calc", url, (MODERN,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            first = await post_modern(client, "/mcp/calc", call("add", {}))
            world.store.policies.verdicts["add"] = Effect.DENY
            second = await again(client, call("add", {}), first.json()["result"]["requestState"])
            assert second.json()["result"]["isError"] is True
            assert len(seen.requests) == 1


@pytest.mark.parametrize(
    "result",
    [
        {"inputRequests": {"a": {"method": "tools/call"}}},
        {"inputRequests": {"a": {"method": "ping"}}},
        {"inputRequests": {"a": 1}},
        {"inputRequests": []},
        {"inputRequests": QUESTIONS, "requestState": 1},
    ],
)
async def test_what_no_client_can_be_asked_is_a_fault_of_the_server(result: dict[str, Any]) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        asked = {"resultType": "input_required", **result}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": asked})

    async with running() as world, scripted(script) as (url, _):
        world.store.register("calc", url, (MODERN,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            assert (await post_modern(client, "/mcp/calc", call("add"))).status_code == 502


async def test_only_some_methods_may_have_input_requests() -> None:
    async with running() as world, scripted(asking) as (url, _):
        world.store.register("calc", url, (MODERN,), TOOLS)
        async with world.client(world.store.issue(world.store.grant(prompts=True))) as client:
            body, headers = modern(request("prompts/list"))
            assert (await client.post("/mcp/calc", json=body, headers=headers)).status_code == 502


async def test_no_state_passes_unopened_while_a_worker_learns_of_the_server() -> None:
    async with running() as world, scripted(asking) as (url, seen):
        token = world.store.issue(world.store.grant())
        async with world.client(token) as client:
            # From here on the worker knows the fleet, and nothing is in it.
            await post_modern(client, "/mcp/calc", request("server/discover"))
            world.store.register("calc", url, (MODERN,), TOOLS)
            world.store.versions[FLEET_ID] += 1
            body, headers = modern(call("add"))
            body["params"]["requestState"] = "forged"
            body["params"]["_meta"]["io.modelcontextprotocol/related-task"] = {"taskId": "forged"}
            answer = await client.post("/mcp/calc", json=body, headers=headers)
            assert answer.status_code == 200, "the worker found out"
            assert "forged" not in str(seen.requests[-1][2])
