"""Long calls: kept alive, canceled only by their client, and never mixed up."""

import asyncio
from typing import Any

import pytest

from tests.gateway.aggregate.test_cancel import Slow, cancelled, outcome_of
from tests.gateway.messages import LEGACY, call, initialize, post
from tests.gateway.test_shared_sessions import two_workers
from tests.gateway.upstreams import event, reference, scripted, send_events, send_json
from tests.gateway.world import running

TOOLS = [{"name": "add", "inputSchema": {"type": "object"}}]


async def test_a_silent_stream_is_kept_alive_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.wire.exchange.FIRST_COMMENT", 0.05)
    monkeypatch.setattr("app.gateway.wire.exchange.NEXT_COMMENT", 0.05)
    go_on = asyncio.Event()

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        await send_events(send, b": hello\n\n", last=False)
        await go_on.wait()
        await send({"type": "http.response.body", "body": event({"jsonrpc": "2.0", "id": 1, "result": {}})})

    async with running() as world, scripted(script) as (url, _):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        async with (
            world.client(world.store.issue(world.store.grant())) as client,
            client.stream("POST", "/mcp/calc", json=call("add")) as stream,
        ):
            received = b""
            async with asyncio.timeout(50):
                async for chunk in stream.aiter_raw():
                    received += chunk
                    if received.count(b": keep-alive") == 2:
                        go_on.set()
            assert received.endswith(event({"jsonrpc": "2.0", "id": 1, "result": {}}))


async def test_equal_request_ids_of_callers_are_not_mixed_up() -> None:
    async with running() as world, reference() as (url, _):
        await world.register("calc", url)
        grant = world.store.grant()

        async def sums(path: str, prefix: str, number: int) -> None:
            async with world.client(world.store.issue(grant)) as client:
                session = (await post(client, path, initialize())).headers["mcp-session-id"]
                for turn in range(5):
                    message = call(f"{prefix}add", {"a": number, "b": turn}, id=7)
                    got = await post(client, path, message, mcp_session_id=session)
                    assert f'"text":"{number + turn}"' in got.text.replace(" ", "")

        await asyncio.gather(
            *(sums("/mcp/calc", "", number * 100) for number in range(5)),
            *(sums("/mcp", "calc__", number * 100) for number in range(5)),
        )


async def test_a_legacy_client_cancels_its_own_call_and_no_other() -> None:
    begun, left = asyncio.Semaphore(0), asyncio.Event()

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        if message.get("method") == "initialize":
            result = {
                "protocolVersion": LEGACY,
                "capabilities": {},
                "serverInfo": {"name": "x", "version": "1"},
            }
            await send_events(send, event({"jsonrpc": "2.0", "id": message["id"], "result": result}))
        elif "id" not in message:
            await send({"type": "http.response.start", "status": 202, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            begun.release()
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()

    async with running() as world, scripted(script) as (url, _):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        token = world.store.issue(world.store.grant())
        async with world.client(token) as client, asyncio.timeout(50):
            one, two = [
                (await post(client, "/mcp", initialize())).headers["mcp-session-id"] for _ in range(2)
            ]
            calls = [
                asyncio.create_task(post(client, "/mcp", call("calc__add", id=5), mcp_session_id=session))
                for session in (one, two)
            ]
            await begun.acquire()
            await begun.acquire()
            message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
            assert (await post(client, "/mcp", message, mcp_session_id=one)).status_code == 202
            await left.wait()
            assert (await calls[0]).content == b""
            assert list(world.store.outcomes.values())[-1] == "cancelled"
            assert len(world.store.watched) == 1
            world.store.cut_all()
            assert "withdrawn" in (await calls[1]).text


@pytest.mark.parametrize("ending", ["error", "closing", "nothing", "result"])
async def test_a_canceled_call_is_recorded_as_canceled(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.mirror.call.GRACE_SECONDS", 0.1)
    begun, cancelled, left = asyncio.Semaphore(0), asyncio.Event(), asyncio.Event()
    error = {"code": 0, "message": "Request cancelled"}

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message.get("id")}
        if message.get("method") == "initialize":
            answer["result"] = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": {}}
            await send_json(send, 200, answer, {"mcp-session-id": "s"})
        elif "id" not in message:
            await send({"type": "http.response.start", "status": 202, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            cancelled.set()
        else:
            await send_events(send, b": hello\n\n", last=False)
            begun.release()
            await cancelled.wait()
            if ending == "nothing":
                while (await receive())["type"] != "http.disconnect":
                    pass
                left.set()
                return
            answer |= {"result": {"content": []}} if ending == "result" else {"error": error}
            last = b"" if ending == "closing" else event(answer)
            await send({"type": "http.response.body", "body": last})

    async with running() as world, scripted(script) as (url, _):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        token = world.store.issue(world.store.grant())
        async with world.client(token) as client, asyncio.timeout(50):
            session = (await post(client, "/mcp/calc", initialize())).headers["mcp-session-id"]
            calls = []
            for id in (5, "5"):
                asking = post(client, "/mcp/calc", call("add", id=id), mcp_session_id=session)
                calls.append(asyncio.create_task(asking))
                await begun.acquire()
            message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
            assert (await post(client, "/mcp/calc", message, mcp_session_id=session)).status_code == 202
            await calls[0]
            if ending == "nothing":
                await left.wait()
                world.store.cut_all()
            await calls[1]
        mine, other = [made.id for made in world.store.calls if made.action == "tool.call"]
        assert world.store.outcomes[mine] == ("success" if ending == "result" else "cancelled")
        others = {"error": "error", "closing": "error", "nothing": "cancelled", "result": "success"}
        assert world.store.outcomes[other] == others[ending]


async def test_a_mirror_call_is_canceled_through_another_worker(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gateway.mirror.call.GRACE_SECONDS", 0.1)
    server = Slow()
    async with asyncio.timeout(50), two_workers(database_url) as (one, two), scripted(server) as (url, _):
        one.store.register("calc", url, (LEGACY,), TOOLS)
        token = one.store.issue(one.store.grant())
        async with one.client(token) as here, two.client(token) as there:
            session = (await post(here, "/mcp/calc", initialize())).headers["mcp-session-id"]
            asking = post(here, "/mcp/calc", call("add", id="c"), mcp_session_id=session)
            calling = asyncio.create_task(asking)
            await server.began.wait()
            for id in ("d", True, None):
                got = await post(there, "/mcp/calc", cancelled(id), mcp_session_id=session)
                assert got.status_code == 202
            got = await post(there, "/mcp/calc", cancelled("c"), mcp_session_id=session)
            assert got.status_code == 202
            await calling
            assert await outcome_of(one) == "cancelled"
