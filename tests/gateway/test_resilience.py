"""What one caller or one upstream does to itself is not felt by others."""

import asyncio
import socket
from typing import Any

import httpx2
import pytest

from app.gateway.times import CallTimes
from app.kit.outbound import Limits, Timeouts
from tests.gateway.messages import LEGACY, MODERN, call, initialize, post, post_modern
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


async def chatter(message: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers what comes before a call, and gives nothing but signs of life to the call."""
    if message.get("method") != "tools/call":
        result = INITIALIZED if message.get("method") == "initialize" else {}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message.get("id"), "result": result})
        return
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    left = asyncio.ensure_future(receive())
    while not left.done():
        await send({"type": "http.response.body", "body": b": I am here\n\n", "more_body": True})
        await asyncio.wait([left], timeout=0.01)


@pytest.mark.parametrize("version", [LEGACY, MODERN])
@pytest.mark.parametrize(("path", "tool"), [("/mcp/calc", "add"), ("/mcp", "calc__add")])
async def test_signs_of_life_do_not_prolong_a_call_for_ever(path: str, tool: str, version: str) -> None:
    times = CallTimes(call=Timeouts(first_byte=60, idle=60, total=0.3))
    async with running(times=times) as world, scripted(chatter) as (url, _), asyncio.timeout(20):
        world.store.register("calc", url, (version,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            if version == MODERN:
                got = await post_modern(client, path, call(tool))
            else:
                got = await post(client, path, call(tool), **await session_on(client, path))
        assert "took too long" in got.text
        assert world.store.outcomes[world.store.admitted("tool.call")[-1].id] == "error"


async def test_a_stream_that_listens_ends_in_time_however_much_it_is_told() -> None:
    times = CallTimes(listen=Timeouts(first_byte=60, idle=None, total=0.3))

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        await chatter({"method": "tools/call"}, receive, send)

    async with running(times=times) as world, scripted(script) as (url, _), asyncio.timeout(20):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            got = await client.get("/mcp/calc", headers={"mcp-protocol-version": LEGACY})
        assert (got.status_code, got.text[:13]) == (200, ": I am here\n\n")
        [listening] = world.store.admitted("mcp.listen")
        assert world.store.outcomes[listening.id] == "error"
