"""The problems of one caller or one upstream do not affect others."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import httpx2
import pytest

from app.gateway.limits import CallTimes
from app.gateway.relay import Relay
from app.gateway.wire.answers import Answer
from app.http.server_protocol import GuardedHttp, SocketTimes
from app.lib.secret_matcher import NO_SECRETS
from app.outbound.http import Limits, Timeouts
from tests.gateway.messages import LEGACY, MODERN, call, initialize, modern, post, post_modern
from tests.gateway.upstreams import event, scripted, send_json
from tests.gateway.world import running
from tests.ports import free_port

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("add", "slow")]
INITIALIZED = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}


def dead_url() -> str:
    return f"http://127.0.0.1:{free_port()}/mcp"


async def session_on(client: httpx2.AsyncClient, path: str) -> dict[str, str]:
    """The session header of a new session, on the endpoint that has sessions of its own."""
    if path != "/mcp":
        return {}
    return {"mcp_session_id": (await post(client, path, initialize())).headers["mcp-session-id"]}


@pytest.mark.parametrize(("path", "tool"), [("/mcp/gone", "add"), ("/mcp", "gone__add")])
async def test_an_unreachable_server_is_not_retried_and_callers_get_an_error(path: str, tool: str) -> None:
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
        async with world.client(flooder) as flooding, world.client(other) as client, asyncio.timeout(50):
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
    async with running(times=times) as world, scripted(chatter) as (url, _), asyncio.timeout(50):
        world.store.register("calc", url, (version,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            if version == MODERN:
                got = await post_modern(client, path, call(tool))
            else:
                got = await post(client, path, call(tool), **await session_on(client, path))
        assert "took too long" in got.text
        assert world.store.outcomes[world.store.admitted("tool.call")[-1].id] == "error"


async def test_a_stream_that_listens_ends_in_time_however_much_it_receives() -> None:
    times = CallTimes(listen=Timeouts(first_byte=60, idle=None, total=1.0))

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        await chatter({"method": "tools/call"}, receive, send)

    async with running(times=times) as world, scripted(script) as (url, _), asyncio.timeout(50):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            got = await client.get("/mcp/calc", headers={"mcp-protocol-version": LEGACY})
        assert (got.status_code, got.text[:13]) == (200, ": I am here\n\n")
        [listening] = world.store.admitted("mcp.listen")
        assert world.store.outcomes[listening.id] == "error"


class Sparse(GuardedHttp):
    """Cuts soon who does not read, and remembers the most that waited for anybody."""

    times = SocketTimes(write=0.3, look=0.02)
    waited: ClassVar[int] = 0

    def _check_times(self) -> None:
        Sparse.waited = max(Sparse.waited, self.transport.get_write_buffer_size())
        super()._check_times()


NOTE = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "x" * 10_000}}


@pytest.mark.parametrize(("version", "outcome"), [(LEGACY, "error"), (MODERN, "cancelled")])
async def test_a_flood_that_its_client_does_not_read_fills_no_memory_and_ends(
    version: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gateway.relay.MAX_UNREAD", 1_000_000)
    monkeypatch.setattr(Sparse, "waited", 0)
    over = asyncio.Event()

    async def flood(message: dict[str, Any], receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        left = asyncio.ensure_future(receive())
        while not left.done():
            await send({"type": "http.response.body", "body": event(NOTE) * 10, "more_body": True})
            await asyncio.sleep(0)
        over.set()

    async with running(http=Sparse) as world, scripted(flood) as (url, _), asyncio.timeout(50):
        world.store.register("calc", url, (version,), TOOLS)
        token = world.store.issue(world.store.grant())
        message, headers = modern(call("add")) if version == MODERN else (call("add"), {})
        _, writer = await deaf_connection(world.url)
        writer.write(wire(token, message, headers))
        await over.wait()
        while world.store.watched:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)
        assert list(world.store.outcomes.values()) == [outcome]
        assert 0 < Sparse.waited < 1_000_000
        writer.transport.abort()


async def deaf_connection(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection with a small receive buffer that is not read."""
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, (host, int(port)))
        return await asyncio.open_connection(sock=made.dup(), limit=1000)


def wire(token: str, message: dict[str, Any], headers: dict[str, str]) -> bytes:
    """The request as bytes."""
    body = json.dumps(message).encode()
    sent = {
        "Host": "127.0.0.1",
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"POST /mcp/calc HTTP/1.1\r\n{lines}\r\n".encode() + body


async def turns_while(work: Any) -> int:
    """How often others had their turn while this ran."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(others())
    try:
        await work
    finally:
        counting.cancel()
    return turns


async def test_a_flood_of_small_events_leaves_others_their_turn() -> None:
    count = 10_000
    passed: list[bytes] = []

    class Response:
        async def iter_chunks(self) -> AsyncIterator[bytes]:
            yield b'data: {"jsonrpc":"2.0","method":"notifications/message"}\n\n' * count
            yield event({"jsonrpc": "2.0", "id": 1, "result": {}})

    async def stream(data: bytes, **_: Any) -> None:
        passed.append(data)

    async def takes(_: Any) -> bool:
        return True

    exchange: Any = SimpleNamespace(stream=stream)
    watch: Any = SimpleNamespace(client_gone=False, resumable=False)
    passage: Any = SimpleNamespace(filter_notification=takes, event_id=lambda _: None)
    relay = Relay(exchange, Answer(1, NO_SECRETS), watch, passage, None)
    assert await turns_while(relay.run(cast("Any", Response()))) >= 100
    assert len(passed) == count + 1
