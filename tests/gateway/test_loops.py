"""Loops between gateways are detected, and a request is decided once at each gateway."""

from typing import Any

import pytest

from app.outbound.http import LoopGuard
from tests.gateway.messages import LEGACY, MODERN, call, initialize, post, post_modern, request
from tests.gateway.upstreams import scripted, send_json
from tests.gateway.world import World, running

TOOLS: list[dict[str, Any]] = [{"name": "add", "inputSchema": {"type": "object"}}]


def behind(world: World, other: World, path: str, tools: list[dict[str, Any]] = TOOLS) -> None:
    """Register another gateway as the server ``next``, with a token of its own."""
    token = other.store.issue(other.store.grant())
    headers = ((b"authorization", f"Bearer {token}".encode()),)
    world.store.register("next", f"{other.url}{path}", (MODERN,), tools, headers)


@pytest.mark.parametrize(("path", "name"), [("/mcp/next", "add"), ("/mcp", "next__add")])
async def test_a_gateway_that_is_its_own_server_reports_a_loop(path: str, name: str) -> None:
    async with running() as world:
        behind(world, world, "/mcp/next")
        async with world.client(world.store.issue(world.store.grant())) as client:
            for message in (call(name), request("tools/list")):
                got = await post_modern(client, path, message)
                assert "gateway itself" in got.text
            assert {row.token.id for row in world.store.calls if row.tool} == {world.store.calls[0].token.id}
            assert len([row for row in world.store.calls if row.tool]) == 1


@pytest.mark.parametrize("path", ["/mcp/next", "/mcp"])
async def test_a_circle_of_gateways_is_walked_once(path: str) -> None:
    aggregate = path == "/mcp"
    async with running() as first, running() as second:
        tools = [{**TOOLS[0], "name": "next__next__add"}] if aggregate else TOOLS
        behind(first, second, path, tools)
        behind(second, first, path, [{**TOOLS[0], "name": "next__add"}] if aggregate else TOOLS)
        async with first.client(first.store.issue(first.store.grant())) as client:
            name = "next__next__next__add" if aggregate else "add"
            got = await post_modern(client, path, call(name))
            assert "error" in got.json(), got.text
        for world in (first, second):
            assert len([row for row in world.store.calls if row.tool]) == 1


async def test_every_upstream_request_has_the_loop_marker_and_chains_work() -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        result: dict[str, Any] = {"content": [], "tools": TOOLS, "resultType": "complete"}
        if message.get("method") == "initialize":
            result = {
                "protocolVersion": LEGACY,
                "capabilities": {},
                "serverInfo": {"name": "s", "version": "1"},
            }
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message.get("id"), "result": result})

    async with running() as world, scripted(script) as (url, seen):
        world.store.register("calc", url, (MODERN, LEGACY), TOOLS)
        marker = world.outbound.loops.header()[1]
        async with world.client(world.store.issue(world.store.grant())) as client:
            for path, name in (("/mcp/calc", "add"), ("/mcp", "calc__add")):
                session = (await post(client, path, initialize())).headers.get("mcp-session-id", "")
                headers = {"mcp_session_id": session} if session else {}
                await post(client, path, call(name), **headers)
                await post_modern(client, path, call(name))
                await post_modern(client, path, request("tools/list"))
            assert {sent[b"scopegate-via"] for _, sent, _ in seen.requests} == {marker}
            seen.requests.clear()
            other = LoopGuard().header()[1]
            client.headers["scopegate-via"] = other.decode()
            for path, name in (("/mcp/calc", "add"), ("/mcp", "calc__add")):
                assert (await post_modern(client, path, call(name))).status_code == 200
                assert (await post_modern(client, path, request("tools/list"))).status_code == 200
            assert {sent[b"scopegate-via"] for _, sent, _ in seen.requests} == {other + b", " + marker}
            client.headers["scopegate-via"] = "anything else"
            assert (await post_modern(client, "/mcp/calc", call("add"))).status_code == 200
            assert seen.requests[-1][1][b"scopegate-via"] == marker
            client.headers["scopegate-via"] = ", ".join([other.decode()] * 8)
            assert (await post_modern(client, "/mcp/calc", call("add"))).status_code == 508


def test_all_replicas_recognize_the_loop_marker_also_by_an_older_key() -> None:
    old, new, other = LoopGuard([b"o" * 32]), LoopGuard([b"n" * 32, b"o" * 32]), LoopGuard([b"x" * 32])
    assert new.is_loop(old.header()[1])
    assert new.is_loop(other.header(new.header()[1])[1])
    assert not new.is_loop(other.header()[1])
    assert not new.is_loop(None)
    assert not old.is_loop(new.header()[1])
