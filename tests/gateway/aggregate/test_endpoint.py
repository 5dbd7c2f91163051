"""``/mcp``: all servers in reach as one, for real clients of both eras."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from app.domain.policy import Effect
from tests.gateway.messages import LEGACY, MODERN, call, initialize, post, post_modern, request
from tests.gateway.upstreams import Seen, reference, scripted, send_json
from tests.gateway.world import CREDENTIAL, World, running

Mode = Literal["auto", "legacy"]
TOOLS = [{"name": "add", "inputSchema": {"type": "object"}}]


@asynccontextmanager
async def connect(world: World, token: str, mode: Mode) -> AsyncIterator[Client]:
    async with world.client(token) as http_client:
        transport = streamable_http_client(f"{world.url}/mcp", http_client=http_client)
        async with Client(transport, mode=mode) as client:
            yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_lists_and_calls_span_servers_of_both_eras(mode: Mode) -> None:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(running())
        old_url, old = await stack.enter_async_context(reference(modern=False))
        new_url, _new = await stack.enter_async_context(reference(json_response=True))
        store = world.store
        zoo = await world.register("zoo", old_url)
        await world.register("ant", new_url)
        store.register("dead", "http://127.0.0.1:9/mcp", (LEGACY,), TOOLS)
        hidden = store.register("hidden", old_url, (LEGACY,), TOOLS)
        grants = [store.grant(zoo, "add", "steps", "leak"), store.grant(store.servers["ant"], "add")]
        token = store.issue(*grants, store.grant(store.servers["dead"]))
        old.requests.clear()
        async with connect(world, token, mode) as client:
            tools = await client.list_tools()
            assert [tool.name for tool in tools.tools] == ["ant__add", "zoo__add", "zoo__leak", "zoo__steps"]
            assert (tools.meta or {})["io.scopegate/unreachable"] == [
                {
                    "server": "dead",
                    "reason": "The server behind the gateway cannot be reached, or closed the connection.",
                }
            ]
            for name in ("ant__add", "zoo__add"):
                answer = await client.call_tool(name, {"a": 2, "b": 3})
                assert answer.structured_content == {"result": 5}
            assert "[redacted]" in (await client.call_tool("zoo__leak", {})).model_dump_json()
            for name in ("ant__steps", "hidden__add", "absent__add", "add", "zoo__", "__add", "zoo"):
                with pytest.raises(MCPError, match=f"Unknown tool: {name}"):
                    await client.call_tool(name, {})
            steps: list[float] = []

            async def on_progress(progress: float, total: float | None, message: str | None) -> None:
                steps.append(progress)

            await client.call_tool("zoo__steps", {}, progress_callback=on_progress)
            assert steps == [0, 1, 2]
            store.policies.verdicts["add"] = Effect.DENY
            assert (await client.call_tool("zoo__add", {"a": 1, "b": 1})).is_error
        del hidden
        assert len(old.of("initialize")) == 1, "one upstream session for all calls of a client session"
        assert [body["params"]["name"] for _, body in old.of("tools/call")] == ["add", "leak", "steps"]
        for _, headers, _body in old.requests:
            assert headers[b"authorization"] == b"Bearer " + CREDENTIAL


def by_session(forget_after: int) -> Any:
    """A legacy upstream whose sessions end after so many calls."""
    counts: dict[str, int] = {}

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        _, headers, _ = script.seen.requests[-1]  # type: ignore[attr-defined]
        session = headers.get(b"mcp-session-id", b"").decode()
        if message.get("method") == "initialize":
            session = f"session-{len(counts)}"
            counts[session] = 0
            result: dict[str, Any] = {
                "protocolVersion": LEGACY,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "x", "version": "1"},
            }
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            await send_json(send, 200, answer, {"mcp-session-id": session})
        elif "id" not in message:
            await send_json(send, 202, b"")
        elif counts[session] >= forget_after:
            await send_json(
                send, 404, {"jsonrpc": "2.0", "id": None, "error": {"code": -1, "message": "gone"}}
            )
        else:
            counts[session] += 1
            result = {"content": [{"type": "text", "text": session}]}
            await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    return script


@asynccontextmanager
async def forgetful(forget_after: int) -> AsyncIterator[tuple[str, Seen]]:
    script = by_session(forget_after)
    async with scripted(script) as (url, seen):
        script.seen = seen
        yield url, seen


async def test_a_lost_upstream_session_is_reopened_under_a_new_admission() -> None:
    async with running() as world, forgetful(1) as (url, _seen):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            texts = [
                (await post_modern(client, "/mcp", call("calc__add"))).json()["result"]["content"][0]["text"]
                for _ in range(2)
            ]
        assert texts == ["session-0", "session-1"]
        calls = world.store.admitted("tool.call")
        assert [world.store.outcomes[call.id] for call in calls] == ["success", "not_forwarded", "success"]


async def test_a_session_that_is_always_lost_ends_in_an_error() -> None:
    async with running() as world, forgetful(0) as (url, seen):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            assert (await post_modern(client, "/mcp", call("calc__add"))).status_code == 502
        assert len(seen.of("tools/call")) == 2


async def test_a_session_belongs_to_its_token_and_ends_everywhere_with_delete() -> None:
    async with running() as world, forgetful(100) as (url, seen):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        grant = world.store.grant()
        token = world.store.issue(grant)
        async with world.client(token) as client, world.client(world.store.issue(grant)) as other:
            assert (await post(client, "/mcp", request("tools/list"))).status_code == 400
            session = (await post(client, "/mcp", initialize())).headers["mcp-session-id"]
            sent = {"mcp_session_id": session}
            assert "result" in (await post(client, "/mcp", call("calc__add"), **sent)).json()
            assert (await post(client, "/mcp", request("ping"), **sent)).json()["result"] == {}
            for message in (call("calc__add"), request("tools/list"), request("ping")):
                assert (await post(other, "/mcp", message, **sent)).status_code == 404
                assert (await post(client, "/mcp", message, mcp_session_id="x" + session)).status_code == 404
            assert (await post(client, "/mcp/calc", call("add"), **sent)).status_code == 404
            headers = {"mcp-session-id": session}
            assert (await other.delete("/mcp", headers=headers)).status_code == 404
            assert (await client.delete("/mcp", headers=headers)).status_code == 204
            for message in (call("calc__add"), request("tools/list"), request("ping")):
                assert (await post(client, "/mcp", message, **sent)).status_code == 404
            assert (await client.delete("/mcp", headers=headers)).status_code == 404
            assert len(seen.of("tools/call")) == 1


async def test_sessions_of_two_clients_are_never_one_upstream_session() -> None:
    async with running() as world, forgetful(100) as (url, _seen):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        token = world.store.issue(world.store.grant())
        texts = set()
        async with world.client(token) as client:
            for _ in range(2):
                session = (await post(client, "/mcp", initialize())).headers["mcp-session-id"]
                answer = await post(client, "/mcp", call("calc__add"), mcp_session_id=session)
                texts.add(answer.json()["result"]["content"][0]["text"])
        assert len(texts) == 2


async def test_the_aggregate_describes_itself() -> None:
    async with running() as world, world.client(world.store.issue()) as client:
        discovered = (await post_modern(client, "/mcp", request("server/discover"))).json()["result"]
        assert discovered["supportedVersions"][0] == MODERN
        assert discovered["capabilities"] == {"tools": {"listChanged": True}, "logging": {}}
        assert discovered["cacheScope"] == "private"
        for asked, answered in (("2025-03-26", "2025-03-26"), ("1999-01-01", LEGACY), (MODERN, LEGACY)):
            answer = await post(client, "/mcp", initialize(asked))
            assert answer.json()["result"]["protocolVersion"] == answered
        listed = (await post_modern(client, "/mcp", request("tools/list"))).json()["result"]
        assert listed["tools"] == []
        assert listed["resultType"] == "complete"
        assert (await post_modern(client, "/mcp", request("tools/list", {"cursor": "x"}))).status_code == 400
        assert [call.action for call in world.store.calls] == [
            "mcp.discover", "mcp.initialize", "mcp.initialize", "mcp.initialize", "tools.list",
        ]  # fmt: skip


async def test_a_revoked_token_is_refused_by_a_worker_with_outdated_data() -> None:
    async with running() as world:
        token = world.store.issue()
        async with world.client(token) as client:
            assert (await post_modern(client, "/mcp", request("tools/list"))).status_code == 200
            world.store.change(token, revoked=True)
            for method in ("tools/list", "server/discover"):
                assert (await post_modern(client, "/mcp", request(method))).status_code == 401
            assert (await post(client, "/mcp", initialize())).status_code == 401
