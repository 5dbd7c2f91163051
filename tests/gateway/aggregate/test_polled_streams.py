"""A server may end the stream of a call before its answer, and continue on request (MCP 2025-11-25, SEP-1699)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from app.gateway.limits import CallTimes
from app.outbound.http import Timeouts
from tests.conformance.fixture_server import fixture_app
from tests.gateway.messages import LEGACY, call, initialize, post, post_modern
from tests.gateway.upstreams import Seen, event, legacy_only, scripted, send_events, send_json
from tests.gateway.world import World, running, serve

TOOLS = [{"name": "add", "inputSchema": {"type": "object"}}]
PRIMING = b"id: e-1\nretry: 100\ndata: \n\n"


async def asked(client: httpx2.AsyncClient, name: str, *, new: bool) -> httpx2.Response:
    if new:
        return await post_modern(client, "/mcp", call(name, {}))
    session = (await post(client, "/mcp", initialize())).headers["mcp-session-id"]
    return await post(client, "/mcp", call(name, {}), mcp_session_id=session, mcp_protocol_version=LEGACY)


@pytest.mark.parametrize("new", [False, True])
async def test_the_answer_of_a_real_server_that_ends_its_stream_first_arrives(new: bool) -> None:
    async with running() as world, serve(legacy_only(fixture_app()), lifespan="on") as origin:
        await world.register("fixture", f"{origin}/mcp")
        async with world.client(world.store.issue(world.store.grant())) as client, asyncio.timeout(50):
            got = await asked(client, "fixture__test_reconnection", new=new)
            assert got.status_code == 200, got.text
            assert "Reconnection test completed" in got.text
            assert list(world.store.outcomes.values())[-1] == "success"


class Polled:
    """A server that ends the stream of each call, and what it does with those who come for the rest."""

    def __init__(self, *rest: bytes, breaks: bool = False) -> None:
        self.rest = list(rest)
        self.breaks = breaks
        self.polled = asyncio.Event()

    async def script(self, message: dict[str, Any], receive: Any, send: Any) -> None:
        if message.get("method") == "initialize":
            result = {
                "protocolVersion": LEGACY,
                "capabilities": {},
                "serverInfo": {"name": "s", "version": "1"},
            }
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            await send_json(send, 200, answer, {"mcp-session-id": "s-1"})
        elif message.get("method") == "tools/call":
            await send_events(send, PRIMING, last=not self.breaks)
            if self.breaks:
                raise RuntimeError("it dies")
        elif not message:
            self.polled.set()
            if self.rest:
                await send_events(send, self.rest.pop(0))
            else:
                await send_events(send, PRIMING)
        else:
            await send_json(send, 202, b"")


@asynccontextmanager
async def behind(
    server: Polled, total: float = 30.0
) -> AsyncIterator[tuple[World, Seen, httpx2.AsyncClient]]:
    times = CallTimes(call=Timeouts(total=total))
    async with running(times=times) as world, scripted(server.script) as (url, seen):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client, asyncio.timeout(50):
            yield world, seen, client


def answer(id: int) -> bytes:
    return event({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "done"}]}})


def polls(seen: Seen) -> list[tuple[bytes | None, bytes | None]]:
    return [
        (headers.get(b"last-event-id"), headers.get(b"mcp-session-id"))
        for method, headers, _ in seen.requests
        if method == "GET"
    ]


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("new", [False, True])
async def test_an_ended_stream_is_resumed_in_its_session_and_the_call_is_sent_once(
    new: bool, breaks: bool
) -> None:
    server = Polled(b"id: e-2\ndata: \n\n", answer(2), breaks=breaks)
    async with behind(server) as (_, seen, client):
        got = await asked(client, "calc__add", new=new)
        assert (got.status_code, "done" in got.text) == (200, True), got.text
        assert polls(seen) == [(b"e-1", b"s-1"), (b"e-2", b"s-1")]
        assert len(seen.of("tools/call")) == 1


@pytest.mark.parametrize("rest", [answer(99), b"data: {}\n\n", b"data: x\n\n"])
async def test_a_resumed_stream_without_an_answer_is_502(rest: bytes) -> None:
    async with behind(Polled(rest)) as (_, seen, client):
        assert (await asked(client, "calc__add", new=True)).status_code == 502
        assert len(seen.of("tools/call")) == 1


async def test_a_server_that_always_ends_its_streams_times_out() -> None:
    async with behind(Polled(), total=1.0) as (world, seen, client):
        assert (await asked(client, "calc__add", new=True)).status_code == 504
        assert 1 <= len(polls(seen)) <= 10
        assert len(seen.of("tools/call")) == 1
        assert list(world.store.outcomes.values()) == ["error"]


async def test_withdrawn_access_ends_a_call_that_waits_to_resume() -> None:
    server = Polled()
    async with behind(server) as (world, seen, client):
        calling = asyncio.create_task(asked(client, "calc__add", new=True))
        await server.polled.wait()
        world.store.cut_all()
        assert "withdrawn" in (await calling).text
        assert len(seen.of("tools/call")) == 1
        assert list(world.store.outcomes.values()) == ["cancelled"]
