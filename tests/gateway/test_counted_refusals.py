"""Requests that are refused before a decision are counted by token, without a row for each."""

from typing import Any

import httpx2
import pytest

from tests.gateway.messages import LEGACY, MODERN, call, initialize, modern, post, post_modern, request
from tests.gateway.upstreams import scripted, send_json
from tests.gateway.world import World, running

TOOLS = [
    {
        "name": "add",
        "inputSchema": {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": "A"}}},
    }
]
JSON = {"content-type": "application/json"}


async def answering(message: dict[str, Any], receive: Any, send: Any) -> None:
    if message.get("method") == "notifications/cancelled":
        await send_json(send, 404, b"{}")
    elif message.get("method") == "initialize":
        result = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        await send_json(send, 200, answer, {"mcp-session-id": "s-1"})
    else:
        await send_json(send, 400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32602, "message": "no"}})


async def check(world: World, got: httpx2.Response, reason: str) -> None:
    assert 400 <= got.status_code < 500 or "error" in got.json(), got.text
    assert world.store.refused == [reason], got.text
    assert world.store.counted == [got.headers["x-request-id"]]
    world.store.refused.clear()
    world.store.counted.clear()


@pytest.mark.parametrize(("path", "name"), [("/mcp/calc", "add"), ("/mcp", "calc__add")])
async def test_a_malformed_request_of_a_live_token_is_counted_once_with_its_reason(
    path: str, name: str
) -> None:
    async with running() as world, scripted(answering) as (url, seen):
        world.store.register("calc", url, (MODERN, LEGACY), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            for raw in (
                b"{",
                b"[]",
                b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
                b'{"id":1,"id":2}',
                b"\xef\xbb\xbf{}",
            ):
                await check(world, await client.post(path, content=raw, headers=JSON), "request_malformed")
            body = {**call(name), "Method": "ping"}
            await check(world, await post(client, path, body), "request_malformed")
            text = await client.post(path, content=b"{}", headers={"content-type": "text/plain"})
            await check(world, text, "request_malformed")
            await check(world, await client.put(path, json={}), "request_malformed")
            body, headers = modern(call(name, {"a": "x"}))
            for lie in ({"mcp-name": "other"}, {"mcp-method": "ping"}, {"mcp-param-a": "y"}):
                await check(
                    world, await client.post(path, json=body, headers={**headers, **lie}), "headers_mismatch"
                )
            twice = [*headers.items(), ("mcp-name", name)]
            await check(world, await client.post(path, json=body, headers=twice), "headers_mismatch")
            await check(world, await post_modern(client, path, request("tasks/list")), "method_unknown")
            wrong = call(name)
            wrong["params"]["arguments"] = []
            await check(world, await post_modern(client, path, wrong), "parameters_invalid")
            foreign = await post(
                client, path, call(name), mcp_session_id="x" * 40, mcp_protocol_version=LEGACY
            )
            await check(world, foreign, "session_unknown")
            assert not world.store.calls
            assert not seen.of("tools/call")


async def test_requests_that_were_decided_or_refused_by_the_server_are_not_counted() -> None:
    async with running() as world, scripted(answering) as (url, _):
        world.store.register("calc", url, (MODERN, LEGACY), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            for path, name in (("/mcp/calc", "add"), ("/mcp", "calc__add")):
                assert (await post_modern(client, path, call(name))).status_code == 400
                assert (await post_modern(client, path, call("nothing"))).status_code == 400
            opened = await post(client, "/mcp/calc", initialize())
            note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
            session = {"mcp_session_id": opened.headers["mcp-session-id"], "mcp_protocol_version": LEGACY}
            assert (await post(client, "/mcp/calc", note, **session)).status_code == 404
            headers = {"mcp-protocol-version": "2020-01-01"}
            assert (await client.post("/mcp/calc", json=call("add"), headers=headers)).status_code == 400
        assert not world.store.refused
