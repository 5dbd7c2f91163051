"""``/mcp``: a canceled call ends in any worker, and is recorded as canceled."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from app.gateway.aggregate.sessions import CANCELS_PER_MINUTE
from tests.gateway.messages import LEGACY, call, initialize, modern, post
from tests.gateway.upstreams import event, scripted, send_events, send_json
from tests.gateway.world import World, running

TOOLS = [{"name": "add", "inputSchema": {"type": "object"}}]
SAYING = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}


class Slow:
    """A legacy server whose calls never end by themselves."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.cancelled: asyncio.Queue[Any] = asyncio.Queue()
        self.ids: list[Any] = []

    async def __call__(self, message: dict[str, Any], receive: Any, send: Any) -> None:
        method = message.get("method")
        if method == "initialize":
            info = {"name": "x", "version": "1"}
            result = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": info}
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            await send_json(send, 200, answer, {"mcp-session-id": "s"})
        elif method == "tools/call":
            self.ids.append(message["id"])
            await send_events(send, event(SAYING), last=False)
            self.began.set()
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            if method == "notifications/cancelled":
                self.cancelled.put_nowait(message["params"]["requestId"])
            await send_json(send, 202, b"")


def cancelled(id: Any) -> dict[str, Any]:
    params = {"requestId": id, "reason": "no longer needed"}
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}


async def outcome_of(world: World) -> str:
    (called,) = world.store.admitted("tool.call")
    while called.id not in world.store.outcomes:  # noqa: ASYNC110  nothing tells of it
        await asyncio.sleep(0)
    return world.store.outcomes[called.id]


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_legacy_client_cancels_its_call_in_any_worker(elsewhere: bool) -> None:
    server = Slow()
    async with running() as world, scripted(server) as (url, _), asyncio.timeout(50):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        token = world.store.issue(world.store.grant())
        async with world.client(token) as client, world.client(token) as same, world.client(None) as _:
            session = (await post(client, "/mcp", initialize())).headers["mcp-session-id"]
            running_call = asyncio.create_task(
                post(client, "/mcp", call("calc__add", id="c"), mcp_session_id=session)
            )
            await server.began.wait()
            if elsewhere:
                # This worker does not have the call, so it broadcasts the cancellation.
                assert (
                    await post(same, "/mcp", cancelled("other"), mcp_session_id=session)
                ).status_code == 202
                ((session_id, request_id),) = world.store.broadcasts
                assert request_id == "other"
                world.gateway.cancel_call(session_id, "c")
            else:
                assert (await post(same, "/mcp", cancelled("c"), mcp_session_id=session)).status_code == 202
                assert not world.store.broadcasts
            answer = await running_call
            assert "result" not in answer.text
            assert await outcome_of(world) == "cancelled"
            assert await server.cancelled.get() == server.ids[0], (
                "the server gets the cancellation with its own id"
            )


async def test_only_its_own_session_cancels_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Slow()
    async with running() as world, scripted(server) as (url, _), asyncio.timeout(50):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        token = world.store.issue(world.store.grant())
        async with world.client(token) as client, world.client(world.store.issue()) as other:
            session = (await post(client, "/mcp", initialize())).headers["mcp-session-id"]
            second = (await post(client, "/mcp", initialize())).headers["mcp-session-id"]
            async with asyncio.TaskGroup() as group:
                group.create_task(post(client, "/mcp", call("calc__add", id=1), mcp_session_id=session))
                await server.began.wait()
                stolen = await post(other, "/mcp", cancelled(1), mcp_session_id=session)
                assert stolen.status_code == 404
                for id in (True, None, [1], "1", "x" * 300):
                    await post(client, "/mcp", cancelled(id), mcp_session_id=session)
                await post(client, "/mcp", cancelled(1), mcp_session_id=second)
                assert world.store.watched, "it runs"
                assert [request_id for _, request_id in world.store.broadcasts] == ["1", 1]
                await post(client, "/mcp", cancelled(1), mcp_session_id=session)


async def test_the_other_workers_are_not_notified_without_end() -> None:
    async with running() as world, world.client(world.store.issue()) as client:
        session = (await post(client, "/mcp", initialize())).headers["mcp-session-id"]
        for id in range(CANCELS_PER_MINUTE + 5):
            await post(client, "/mcp", cancelled(id), mcp_session_id=session)
        assert len(world.store.broadcasts) == CANCELS_PER_MINUTE
        assert isinstance(world.store.broadcasts[0][0], UUID)


async def test_a_modern_client_that_disconnects_cancels_at_a_legacy_server() -> None:
    server = Slow()
    async with running() as world, scripted(server) as (url, _), asyncio.timeout(50):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            body, headers = modern(call("calc__add"))
            async with client.stream("POST", "/mcp", json=body, headers=headers):
                await server.began.wait()
            assert await server.cancelled.get() == server.ids[0]
            assert await outcome_of(world) == "cancelled"


async def test_a_cut_call_is_canceled_at_a_legacy_server() -> None:
    server = Slow()
    async with running() as world, scripted(server) as (url, _), asyncio.timeout(50):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            body, headers = modern(call("calc__add"))
            async with client.stream("POST", "/mcp", json=body, headers=headers) as stream:
                await server.began.wait()
                world.store.cut_all()
                assert "withdrawn" in "".join([line async for line in stream.aiter_lines()])
            assert await server.cancelled.get() == server.ids[0]
