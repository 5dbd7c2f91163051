"""Protocol violations by clients and servers have a defined result."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from app.gateway.sealed_ids import MAX_SEALED
from tests.gateway.messages import LEGACY, MODERN, call, initialize, post, post_modern, request
from tests.gateway.upstreams import Seen, event, scripted, send_events, send_json
from tests.gateway.world import running

TOOLS = [{"name": "add", "inputSchema": {"type": "object"}}]
PATHS = ["/mcp/calc", "/mcp"]
Script = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def handshake(message: dict[str, Any]) -> dict[str, Any]:
    """The answer of a legacy server to ``initialize``."""
    result = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


@asynccontextmanager
async def gateway_to(script: Script, *versions: str) -> AsyncIterator[tuple[httpx2.AsyncClient, Seen]]:
    """A client that may do everything, and what reaches a server that follows a script."""
    async with running() as world, scripted(script) as (url, seen):
        world.store.register("calc", url, versions or (LEGACY,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            yield client, seen


async def answering(message: dict[str, Any], _receive: Any, send: Any) -> None:
    if message["method"] == "initialize":
        await send_json(send, 200, handshake(message), {"mcp-session-id": "s1"})
    else:
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("version", [1, None, ["2025-11-25"]])
async def test_a_handshake_without_a_version_is_refused(path: str, version: Any) -> None:
    async with gateway_to(answering) as (client, seen):
        message = initialize()
        message["params"]["protocolVersion"] = version
        answer = await post(client, path, message)
        assert answer.json()["error"]["code"] == -32602
        assert "protocolVersion" in answer.json()["error"]["message"]
        assert "mcp-session-id" not in answer.headers
        assert seen.requests == []


@pytest.mark.parametrize("path", PATHS)
async def test_a_request_that_names_two_sessions_is_refused(path: str) -> None:
    async with gateway_to(answering) as (client, seen):
        session = (await post(client, path, initialize())).headers["mcp-session-id"]
        seen.requests.clear()
        headers = [("mcp-session-id", session), ("mcp-session-id", session), ("mcp-protocol-version", LEGACY)]
        answer = await client.post(path, json=request("tools/list"), headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == -32600
        assert seen.requests == []


async def test_a_session_id_that_is_too_long_to_seal_is_refused() -> None:
    async def script(message: dict[str, Any], _receive: Any, send: Any) -> None:
        await send_json(send, 200, handshake(message), {"mcp-session-id": "s" * MAX_SEALED})

    async with gateway_to(script) as (client, _):
        answer = await post(client, "/mcp/calc", initialize())
        assert answer.status_code == 502
        assert "mcp-session-id" not in answer.headers


async def test_a_405_for_ending_a_session_is_forwarded() -> None:
    statuses = [405]

    async def script(message: Any, receive: Any, send: Any) -> None:
        if message is None or "method" not in message:
            await send_json(send, statuses[0], b"")
        else:
            await answering(message, receive, send)

    async with gateway_to(script) as (client, seen):
        session = (await post(client, "/mcp/calc", initialize())).headers["mcp-session-id"]
        headers = {"mcp-session-id": session, "mcp-protocol-version": LEGACY}
        answer = await client.delete("/mcp/calc", headers=headers)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert [method for method, _, _ in seen.requests][-1] == "DELETE"


@pytest.mark.parametrize(("path", "name", "status"), [("/mcp/calc", "add", 429), ("/mcp", "calc__add", 503)])
async def test_a_429_of_a_server_is_reported_as_busy(path: str, name: str, status: int) -> None:
    """A server's own endpoint passes its status on; that of all servers names the server."""

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        if message["method"] == "tools/call":
            await send_json(send, 429, b"{}")
        else:
            await answering(message, receive, send)

    async with gateway_to(script, MODERN) as (client, _):
        answer = await post_modern(client, path, call(name))
        assert answer.status_code == status
        assert "error" in answer.json()
        if status == 503:
            assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("id", [True, 1.5, None, "x" * 10_000])
async def test_a_server_request_with_an_invalid_id_ends_the_call(id: Any) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        if message["method"] != "tools/call":
            await answering(message, receive, send)
            return
        asks = {"jsonrpc": "2.0", "id": id, "method": "roots/list", "params": {}}
        await send_events(send, event(asks), event({"jsonrpc": "2.0", "id": message["id"], "result": {}}))

    async with gateway_to(script) as (client, _):
        session = (await post(client, "/mcp/calc", initialize())).headers["mcp-session-id"]
        headers = {"mcp-session-id": session, "mcp-protocol-version": LEGACY}
        answer = await client.post("/mcp/calc", json=call("add"), headers=headers)
        assert "roots/list" not in answer.text
        assert '"error"' in answer.text
        assert '"result"' not in answer.text


@pytest.mark.parametrize("taken_back", [True, None, {"a": 1}])
async def test_cancellations_of_unknown_server_requests_are_not_forwarded(taken_back: Any) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        if message["method"] != "tools/call":
            await answering(message, receive, send)
            return
        cancelled = {
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": {"requestId": taken_back},
        }
        done = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}}
        await send_events(send, event(cancelled), event(done))

    async with gateway_to(script) as (client, _):
        session = (await post(client, "/mcp/calc", initialize())).headers["mcp-session-id"]
        headers = {"mcp-session-id": session, "mcp-protocol-version": LEGACY}
        answer = await client.post("/mcp/calc", json=call("add"), headers=headers)
        assert "cancelled" not in answer.text
        assert json.loads(answer.text.partition("data:")[2].splitlines()[0])["result"] == {"content": []}
