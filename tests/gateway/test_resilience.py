"""What one caller or one upstream does to itself is not felt by others."""

import asyncio
import socket
from typing import Any

import httpx2
import pytest

from app.kit.outbound import Limits
from tests.gateway.messages import LEGACY, call, initialize, post
from tests.gateway.upstreams import scripted, send_json
from tests.gateway.world import running

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("add", "slow")]
INITIALIZED = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}


def dead_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}/mcp"


async def session_on(client: httpx2.AsyncClient, path: str) -> dict[str, str]:
    """The session header of a new session, on the endpoint that has sessions of its own."""
    if path != "/mcp":
        return {}
    return {"mcp_session_id": (await post(client, path, initialize())).headers["mcp-session-id"]}


@pytest.mark.parametrize(("path", "tool"), [("/mcp/gone", "add"), ("/mcp", "gone__add")])
async def test_a_server_that_is_gone_is_left_alone_and_the_callers_are_told(path: str, tool: str) -> None:
    async with running() as world:
        world.store.register("gone", dead_url(), (LEGACY,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            session = await session_on(client, path)
            for _ in range(5):
                assert (await post(client, path, call(tool), **session)).status_code == 502
            refused = await post(client, path, call(tool), **session)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "does not answer" in refused.json()["error"]["message"]
        calls = world.store.admitted("tool.call")
        assert [world.store.outcomes[made.id] for made in calls] == ["not_forwarded"] * 6


@pytest.mark.parametrize(("path", "prefix"), [("/mcp/calc", ""), ("/mcp", "calc__")])
async def test_others_are_served_while_one_caller_holds_all_the_connections_that_they_may(
    path: str, prefix: str
) -> None:
    hung, go = asyncio.Semaphore(0), asyncio.Event()

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        if "id" not in message:
            await send({"type": "http.response.start", "status": 202, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        if message["params"].get("name") == "slow":
            hung.release()
            await go.wait()
        result = INITIALIZED if message["method"] == "initialize" else {"content": []}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async with running() as world, scripted(script) as (url, _):
        world.outbound.limits = Limits(connections_per_origin=3, connections_per_caller=2)
        world.store.register("calc", url, (LEGACY,), TOOLS)
        flooder, other = (world.store.issue(world.store.grant()) for _ in range(2))
        async with world.client(flooder) as flooding, world.client(other) as client, asyncio.timeout(20):
            session = await session_on(flooding, path)
            slow = call(f"{prefix}slow")
            held = [asyncio.create_task(post(flooding, path, slow, **session)) for _ in range(8)]
            await hung.acquire()
            await hung.acquire()
            session = await session_on(client, path)
            for _ in range(3):
                assert (await post(client, path, call(f"{prefix}add"), **session)).status_code == 200
            assert not any(task.done() for task in held)
            go.set()
            assert {answer.status_code for answer in await asyncio.gather(*held)} == {200}
