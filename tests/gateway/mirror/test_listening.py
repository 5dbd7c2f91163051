"""Listening streams: the legacy GET, resumed streams, and ``subscriptions/listen``."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import pytest

from app.domain.token_format import SCOPED_TOKEN, parse_credential
from app.gateway.app import UNLIMITED
from app.gateway.limits import Allowance
from tests.gateway.messages import LEGACY, MODERN, call, initialize, modern, post, request
from tests.gateway.upstreams import Seen, event, scripted, send_events, send_json
from tests.gateway.world import CREDENTIAL, World, running

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("add", "secret")]
UPDATED = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "r://1"}}
LOG = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}


@dataclass
class Streaming:
    """A server whose calls end their stream before the answer, which a GET brings; its own stream stays open.

    ``more`` is what it says there; nothing at all ends it.
    """

    sessions: int = 0
    get_status: int = 200
    listening: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    more: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def __call__(self, message: dict[str, Any], receive: Any, send: Any) -> None:
        method = message.get("method")
        if method is None:
            await self._open(receive, send)
        elif method == "initialize":
            self.sessions += 1
            result = {
                "protocolVersion": LEGACY,
                "capabilities": {},
                "serverInfo": {"name": "x", "version": "1"},
            }
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            await send_json(send, 200, answer, {"mcp-session-id": f"s{self.sessions}"})
        elif method == "subscriptions/listen":
            await send_events(send, event(LOG), last=False)
            await self._until_left(receive, send)
        elif method == "logging/setLevel":
            await send_events(send, b"id: e1\n" + event(LOG), last=False)
            if message["params"]["level"] != "alert":  # For an alert, it breaks off.
                await self._until_left(receive, send)
        else:
            await send_events(send, b"id: e1\nretry: 7\ndata: \n\n", b"id: e2\n" + event(LOG))

    async def _open(self, receive: Any, send: Any) -> None:
        if self.get_status != 200:
            await send_json(send, self.get_status, b"{}")
            return
        await send_events(send, b": hello\n\n", last=False)
        await self._until_left(receive, send)

    async def _until_left(self, receive: Any, send: Any) -> None:
        self.listening.set()

        async def leave() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.left.set()

        leaving = asyncio.create_task(leave())
        more = True
        while more and not self.left.is_set():
            getting = asyncio.create_task(self.more.get())
            await asyncio.wait({getting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                more = getting.result() != b""
                await send({"type": "http.response.body", "body": getting.result(), "more_body": more})
            getting.cancel()
        leaving.cancel()


@asynccontextmanager
async def world_of(
    server: Streaming, per_token: Allowance = UNLIMITED, /, **parts: bool
) -> AsyncIterator[tuple[World, Seen, str]]:
    """A gateway before the server, and a token."""
    async with running(per_token=per_token) as world, scripted(server) as (url, seen), asyncio.timeout(50):
        world.store.register("calc", url, (MODERN, LEGACY), TOOLS)
        yield (
            world,
            seen,
            world.store.issue(world.store.grant(None, "add", **parts)),
        )


async def session_of(client: httpx2.AsyncClient) -> dict[str, str]:
    began = await post(client, "/mcp/calc", initialize())
    return {"mcp-session-id": began.headers["mcp-session-id"], "mcp-protocol-version": LEGACY}


def narrow(world: World, token: str) -> None:
    """Give the token's identity a grant of a tool and nothing else; this worker hears of it."""
    credential = parse_credential(token, SCOPED_TOKEN)
    assert credential is not None
    grant = world.store.grant(None, "add")
    world.store.versions[grant.id] = 1
    identity = replace(world.store.tokens[credential.id][1].identity, grants=(grant,))
    world.store.change(token, identity=identity)
    world.store.cached.clear()


async def last_event_of(client: httpx2.AsyncClient, message: Any, headers: dict[str, str]) -> str:
    """The id of the last event of a stream that ends before its answer."""
    got = await client.post("/mcp/calc", json=message, headers=headers)
    assert got.status_code == 200
    assert '"result"' not in got.text
    assert "retry: 7" in got.text
    return [line.removeprefix("id: ") for line in got.text.splitlines() if line.startswith("id: ")][-1]


async def test_a_session_gets_server_messages_until_the_client_disconnects() -> None:
    server = Streaming()
    async with world_of(server, resources=True) as (world, seen, token), world.client(token) as client:
        headers = await session_of(client)
        async with client.stream("GET", "/mcp/calc", headers=headers) as stream:
            assert stream.headers["content-type"] == "text/event-stream"
            await server.listening.wait()
            server.more.put_nowait(b"id: 1\n" + event(UPDATED))
            server.more.put_nowait(event({"jsonrpc": "2.0", "id": 1, "result": {"stolen": 1}}))
            server.more.put_nowait(event({**LOG, "params": {"data": CREDENTIAL.decode()}}))
            received = ""
            async for line in stream.aiter_lines():
                received += line
                if "redacted" in line:
                    break
            assert "resources/updated" in received
            assert "stolen" not in received
        await server.left.wait()
        sent = next(headers for method, headers, _ in seen.requests if method == "GET")
        assert sent[b"mcp-session-id"] == b"s1"
        assert sent[b"authorization"] == b"Bearer " + CREDENTIAL
        (opened,) = world.store.admitted("mcp.listen")
        while opened.id not in world.store.outcomes:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)
        assert world.store.outcomes[opened.id] == "cancelled"


async def test_withdrawn_access_ends_streams_and_withdrawn_parts_are_not_reported() -> None:
    server = Streaming()
    async with world_of(server, resources=True) as (world, _, token), world.client(token) as client:
        headers = await session_of(client)
        async with client.stream("GET", "/mcp/calc", headers=headers) as stream:
            await server.listening.wait()
            narrow(world, token)
            server.more.put_nowait(event(UPDATED))
            server.more.put_nowait(event(LOG))
            received = ""
            async for line in stream.aiter_lines():
                received += line
                if "notifications/message" in line:
                    world.store.cut_all()
            assert "resources/updated" not in received
            assert "error" not in received
        await server.left.wait()
        (opened,) = world.store.admitted("mcp.listen")
        assert world.store.outcomes[opened.id] == "cancelled"


async def test_only_its_own_session_opens_a_stream() -> None:
    server = Streaming()
    async with world_of(server) as (world, seen, token), world.client(token) as client:
        headers = await session_of(client)
        narrow = world.store.issue()
        other = world.store.issue(world.store.grant(None, "add"))
        seen.requests.clear()
        for who in (narrow, other):
            async with world.client(who) as foreign:
                assert (await foreign.get("/mcp/calc", headers=headers)).status_code == 404
        assert (await client.get("/mcp", headers=headers)).status_code == 404
        assert (await client.get("/mcp/calc", headers={"mcp-protocol-version": MODERN})).status_code == 405
        assert not seen.requests
        server.get_status = 405
        assert (await client.get("/mcp/calc", headers=headers)).status_code == 405
        server.get_status = 401
        assert (await client.get("/mcp/calc", headers=headers)).status_code == 502


async def test_a_resumed_stream_contains_the_answer_and_records_the_outcome() -> None:
    server = Streaming()
    async with world_of(server) as (world, seen, token), world.client(token) as client:
        headers = await session_of(client)
        last = await last_event_of(client, call("add", id="c"), headers)
        (called,) = world.store.admitted("tool.call")
        assert world.store.outcomes[called.id] == "unknown"
        result = {"content": [], "isError": True}
        server.more.put_nowait(b"id: e3\n" + event({"jsonrpc": "2.0", "id": "c", "result": result}))
        server.more.put_nowait(b"")
        got = await client.get("/mcp/calc", headers={**headers, "last-event-id": last})
        assert json.dumps(result).replace(" ", "") in got.text.replace(" ", "")
        sent = next(headers for method, headers, _ in seen.requests if method == "GET")
        assert sent[b"last-event-id"] == b"e2"
        (resumed,) = world.store.admitted("mcp.resume")
        assert resumed.tool == "add"
        while world.store.outcomes[called.id] == "unknown":  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)
        assert world.store.outcomes[called.id] == "error"


async def test_leaving_a_resumable_stream_closes_the_upstream_stream() -> None:
    server = Streaming()
    async with world_of(server) as (world, _, token), world.client(token) as client:
        headers = await session_of(client)
        message = request("logging/setLevel", {"level": "info"})
        async with client.stream("POST", "/mcp/calc", json=message, headers=headers) as stream:
            async for line in stream.aiter_lines():
                if "notifications/message" in line:
                    break
        await server.left.wait()
        (called,) = world.store.admitted("mcp.set_level")
        while called.id not in world.store.outcomes:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)
        assert world.store.outcomes[called.id] == "unknown"


async def test_a_lost_resumable_stream_ends_without_an_error() -> None:
    async with world_of(Streaming()) as (world, _, token), world.client(token) as client:
        headers = await session_of(client)
        message = request("logging/setLevel", {"level": "alert"})
        got = await client.post("/mcp/calc", json=message, headers=headers)
        assert "notifications/message" in got.text
        assert "error" not in got.text
        (called,) = world.store.admitted("mcp.set_level")
        assert world.store.outcomes[called.id] == "unknown"


async def test_a_list_in_a_resumed_stream_is_filtered() -> None:
    server = Streaming()
    async with world_of(server) as (world, _, token), world.client(token) as client:
        headers = await session_of(client)
        last = await last_event_of(client, request("tools/list", id=4), headers)
        server.more.put_nowait(event({"jsonrpc": "2.0", "id": 4, "result": {"tools": TOOLS}}))
        server.more.put_nowait(b"")
        got = await client.get("/mcp/calc", headers={**headers, "last-event-id": last})
        assert '"add"' in got.text
        assert "secret" not in got.text


async def test_a_completion_can_be_resumed_while_its_part_is_in_reach() -> None:
    server = Streaming()
    reference = {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "b"}}
    async with world_of(server, prompts=True) as (world, seen, token), world.client(token) as client:
        headers = await session_of(client)
        last = await last_event_of(client, request("completion/complete", reference), headers)
        narrow(world, token)
        seen.requests.clear()
        got = await client.get("/mcp/calc", headers={**headers, "last-event-id": last})
        assert got.status_code == 404
        assert not seen.requests


async def test_a_stream_is_taken_up_again_only_where_and_while_its_request_is_allowed() -> None:
    server = Streaming()
    async with world_of(server) as (world, seen, token), world.client(token) as client:
        headers = await session_of(client)
        last = await last_event_of(client, call("add"), headers)
        elsewhere = await session_of(client)
        async with world.client(world.store.issue(world.store.grant())) as other:
            foreign = await session_of(other)
            seen.requests.clear()
            for who, where, id, status in (
                (client, elsewhere, last, 400),
                (other, foreign, last, 400),
                (other, headers, last, 400),
                (client, headers, "e2", 400),
                (client, headers, last[:-1], 400),
                (client, {"mcp-protocol-version": LEGACY}, last, 400),
            ):
                got = await who.get("/mcp/calc", headers={**where, "last-event-id": id})
                assert got.status_code == status
        tools = {name: tool for name, tool in world.store.servers["calc"].tools.items() if name != "add"}
        world.store.change_server("calc", tools=tools)
        got = await client.get("/mcp/calc", headers={**headers, "last-event-id": last})
        assert got.status_code == 404
        assert not seen.requests


@pytest.mark.parametrize(
    ("parts", "kept"),
    [
        ({}, ["toolsListChanged"]),
        ({"prompts": True}, ["toolsListChanged", "promptsListChanged"]),
        ({"resources": True}, ["toolsListChanged", "resourcesListChanged", "resourceSubscriptions"]),
    ],
)
async def test_a_modern_client_listens_for_what_its_token_may_hear_of(
    parts: dict[str, bool], kept: list[str]
) -> None:
    server = Streaming()
    wanted = {
        "toolsListChanged": True,
        "promptsListChanged": True,
        "resourcesListChanged": True,
        "resourceSubscriptions": ["r://1"],
        "taskIds": ["t"],
    }
    body, headers = modern(request("subscriptions/listen", {"notifications": wanted}))
    async with world_of(server, **parts) as (world, seen, token), world.client(token) as client:
        async with client.stream("POST", "/mcp/calc", json=body, headers=headers) as stream:
            received = ""
            async for line in stream.aiter_lines():
                received += line
                if "notifications/message" in line:
                    await server.listening.wait()
                    server.more.put_nowait(event(UPDATED))
                    server.more.put_nowait(event({**LOG, "params": {"data": "last"}}))
                if "last" in line:
                    world.store.cut_all()
            assert ("resources/updated" in received) is ("resources" in parts)
            assert "withdrawn" in received
        await server.left.wait()
        asked = seen.of("subscriptions/listen")[0][1]
        assert asked["params"]["notifications"] == {key: wanted[key] for key in kept}
        (opened,) = world.store.admitted("mcp.listen")
        assert world.store.outcomes[opened.id] == "cancelled"


async def test_malformed_listen_requests_are_refused() -> None:
    async with world_of(Streaming()) as (world, seen, token), world.client(token) as client:
        without: list[dict[str, Any]] = [{}, {"notifications": []}]
        for params in without:
            body, headers = modern(request("subscriptions/listen", params))
            got = await client.post("/mcp/calc", json=body, headers=headers)
            assert (got.status_code, got.json()["error"]["code"]) == (400, -32602)
        assert not seen.requests


async def test_open_streams_of_a_token_are_limited() -> None:
    server = Streaming()
    body, listening = modern(request("subscriptions/listen", {"notifications": {}}))
    allowed = Allowance(streams=1)
    async with world_of(server, allowed) as (world, seen, token), world.client(token) as client:
        headers = await session_of(client)
        async with client.stream("GET", "/mcp/calc", headers=headers):
            await server.listening.wait()
            seen.requests.clear()
            world.store.calls.clear()
            assert (await client.get("/mcp/calc", headers=headers)).status_code == 429
            assert (await client.post("/mcp/calc", json=body, headers=listening)).status_code == 429
            assert not seen.requests
            assert (world.store.calls, world.store.refused) == ([], ["too_many_streams"] * 2)
            async with world.client(world.store.issue(world.store.grant())) as other:
                server.get_status = 405
                assert (await other.get("/mcp/calc", headers=await session_of(other))).status_code == 405
        await server.left.wait()
        while world.store.watched:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)
        assert (await client.get("/mcp/calc", headers=headers)).status_code == 405
