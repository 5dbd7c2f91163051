"""``/mcp``: open streams report changed lists and subscribed resources."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.subscriptions import ResourceUpdated

from app.domain.token_format import SCOPED_TOKEN, parse_credential
from app.gateway.limits import Allowance, CallTimes
from app.outbound.http import Timeouts
from tests.conformance.fixture_server import fixture_app
from tests.conformance.fixture_tools import BUS
from tests.gateway.messages import LEGACY, MODERN, initialize, modern, post, request
from tests.gateway.mirror.test_listening import Streaming
from tests.gateway.upstreams import Seen, event, reference, scripted, send_json
from tests.gateway.world import CREDENTIAL, World, running, serve

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("add", "secret")]
ALL = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.aggregate.streams.GAP_SECONDS", 0.0)
    monkeypatch.setattr("app.gateway.aggregate.streams.FIRST_WAIT", 0.0)


def regrant(world: World, token: str, *grants: Any) -> None:
    """Give the token's identity these grants, and no others."""
    credential = parse_credential(token, SCOPED_TOKEN)
    assert credential is not None
    for grant in grants:
        world.store.versions[grant.id] = 1
    identity = world.store.tokens[credential.id][1].identity
    world.store.change(token, identity=replace(identity, grants=grants))


class StreamReader:
    """Reads the messages of a stream."""

    def __init__(self, stream: httpx2.Response) -> None:
        self._lines = stream.aiter_lines()

    async def next(self) -> Any:
        """Return the next message; ``None`` at the end of the stream."""
        async for line in self._lines:
            if line.startswith("data: "):
                return json.loads(line.removeprefix("data: "))
        return None


@asynccontextmanager
async def listening(
    client: httpx2.AsyncClient, wanted: dict[str, Any], id: Any = "l"
) -> AsyncIterator[tuple[StreamReader, dict[str, Any]]]:
    """Open a modern stream; yields its acknowledged notifications too."""
    body, headers = modern(request("subscriptions/listen", {"notifications": wanted}, id))
    async with asyncio.timeout(50), client.stream("POST", "/mcp", json=body, headers=headers) as stream:
        assert stream.status_code == 200
        reader = StreamReader(stream)
        first = await reader.next()
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"]["_meta"] == {SUBSCRIPTION: id}
        yield reader, first["params"]["notifications"]


@asynccontextmanager
async def hearing(client: httpx2.AsyncClient) -> AsyncIterator[tuple[StreamReader, dict[str, str]]]:
    """Open a legacy session's stream; yields the session's headers too."""
    began = await post(client, "/mcp", initialize())
    headers = {"mcp-session-id": began.headers["mcp-session-id"], "mcp-protocol-version": LEGACY}
    async with asyncio.timeout(50), client.stream("GET", "/mcp", headers=headers) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"] == "text/event-stream"
        yield StreamReader(stream), headers


async def methods(reader: StreamReader, count: int) -> set[str]:
    return {(await reader.next())["method"].removeprefix("notifications/") for _ in range(count)}


async def test_a_narrowed_token_gets_list_changed_notifications() -> None:
    async with running() as world, reference() as (url, _):
        store = world.store
        store.register("calc", url, (MODERN,), TOOLS)
        token = store.issue(store.grant(None, prompts=True, resources=True))
        async with world.client(token) as client, listening(client, ALL) as (reader, kept):
            assert kept == ALL
            regrant(world, token, store.grant(None, "add", prompts=True))
            await store.look_again()
            assert await methods(reader, 2) == {"tools/list_changed", "resources/list_changed"}
            regrant(world, token, store.grant(None, "add", prompts=True, resources=True))
            await store.look_again()
            assert await methods(reader, 2) == {"tools/list_changed", "resources/list_changed"}


@pytest.mark.parametrize("kind", ["approved", "disabled", "added"])
async def test_a_changed_fleet_notifies_streams_of_both_eras(kind: str) -> None:
    async with running() as world, reference() as (url, _):
        store = world.store
        store.register("calc", url, (MODERN,), TOOLS)
        async with (
            world.client(store.issue(store.grant())) as client,
            listening(client, {"toolsListChanged": True}) as (modern_stream, _),
            hearing(client) as (legacy_stream, _),
        ):
            if kind == "added":
                store.register("more", url, (MODERN,), TOOLS)
                store.versions.update(dict.fromkeys(list(store.versions)[1:2], 2))
            else:
                change: dict[str, Any] = {"enabled": False} if kind == "disabled" else {"tools": {}}
                store.change_server("calc", **change)
            await store.look_again()
            for stream in (modern_stream, legacy_stream):
                assert (await stream.next())["method"] == "notifications/tools/list_changed"


async def test_what_changed_out_of_a_tokens_reach_is_not_sent() -> None:
    async with running() as world, reference() as (url, _):
        store = world.store
        near, far = (store.register(slug, url, (MODERN,), TOOLS) for slug in ("near", "far"))
        token = store.issue(store.grant(near))
        async with world.client(token) as client, listening(client, ALL) as (reader, kept):
            assert kept == {"toolsListChanged": True}
            store.change_server("far", tools={})
            await store.look_again()
            store.change_server("near", tools={})
            await store.look_again()
            assert await methods(reader, 1) == {"tools/list_changed"}
            store.cut_all()
            last = await reader.next()
            assert "withdrawn" in last["error"]["message"]
            assert await reader.next() is None
        assert far.slug == "far"


async def test_a_stream_is_recorded_and_cut_when_its_token_is_revoked() -> None:
    async with running() as world:
        store = world.store
        token = store.issue()
        async with world.client(token) as client, hearing(client) as (reader, _):
            (opened,) = store.admitted("mcp.listen")
            assert opened.server is None
            store.change(token, revoked=True)
            await store.look_again()
            assert await reader.next() is None
            assert store.outcomes[opened.id] == "cancelled"
            assert (await client.get("/mcp")).status_code == 401


async def test_a_stream_belongs_to_a_session_that_lives() -> None:
    async with (
        running(per_token=Allowance(streams=1)) as world,
        world.client(world.store.issue()) as client,
        world.client(world.store.issue()) as other,
    ):
        assert (await client.get("/mcp")).status_code == 400
        async with hearing(client) as (_, headers):
            assert (await other.get("/mcp", headers=headers)).status_code == 404
            assert (await client.get("/mcp", headers=headers)).status_code == 429, "the one it may hold"
        while world.store.watched:  # noqa: ASYNC110  nothing tells that the stream has ended
            await asyncio.sleep(0)
        assert (await client.delete("/mcp", headers=headers)).status_code == 204
        assert (await client.get("/mcp", headers=headers)).status_code == 404


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"notifications": []},
        {"notifications": {"resourceSubscriptions": [1]}},
        {"notifications": {"resourceSubscriptions": "mcp+calc+r://1"}},
        {"notifications": {"resourceSubscriptions": ["mcp+calc+r://1"] * 101}},
        {"notifications": {"resourceSubscriptions": ["x" * 1025]}},
    ],
)
async def test_malformed_listen_requests_are_refused(params: dict[str, Any]) -> None:
    async with running() as world, world.client(world.store.issue()) as client:
        body, headers = modern(request("subscriptions/listen", params))
        got = await client.post("/mcp", json=body, headers=headers)
        assert (got.status_code, got.json()["error"]["code"]) == (400, -32602)


def updated(uri: str) -> bytes:
    return event({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}})


class Subscribing(Streaming):
    """A legacy server with subscriptions that sends the test's notifications."""

    async def __call__(self, message: dict[str, Any], receive: Any, send: Any) -> None:
        if message.get("method") in {"resources/subscribe", "resources/unsubscribe"}:
            known = message["params"]["uri"] != "r://unknown"
            if not known or message["method"] == "resources/unsubscribe":
                error = {"code": -32002, "message": "no"}
                await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "error": error})
                return
            await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": {}})
        elif message.get("method") == "notifications/initialized":
            await send_json(send, 202, b"")
        else:
            await super().__call__(message, receive, send)


@asynccontextmanager
async def fleet(server: Streaming, version: str) -> AsyncIterator[tuple[World, Seen]]:
    async with running() as world, scripted(server) as (url, seen):
        world.store.register("calc", url, (version,), TOOLS)
        yield world, seen


@pytest.mark.parametrize("version", [LEGACY, MODERN])
async def test_a_modern_client_hears_of_resources_of_servers_of_either_era(version: str) -> None:
    server = Subscribing()
    wanted = {"resourceSubscriptions": ["mcp+calc+r://1", "mcp+far+r://1", "r://1"]}
    async with fleet(server, version) as (world, seen):
        far = world.store.register("far", "http://127.0.0.1:9/mcp", (MODERN,), TOOLS)
        near = world.store.grant(world.store.servers["calc"], resources=True)
        token = world.store.issue(near, world.store.grant(far))
        async with world.client(token) as client, listening(client, wanted, 7) as (reader, kept):
            assert kept == {"resourceSubscriptions": ["mcp+calc+r://1", "mcp+far+r://1"]}
            await server.listening.wait()
            for uri in ("r://other", f"r://1/below?key={CREDENTIAL.decode()}"):
                server.more.put_nowait(updated(uri))
            message = await reader.next()
            shown = "mcp+calc+r://1/below?key=[redacted]"
            assert message["params"] == {"uri": shown, "_meta": {SUBSCRIPTION: 7}}
            regrant(world, token, world.store.grant())
            await world.store.look_again()
            await server.left.wait()
        assert all(call.decision.allowed for call in world.store.calls), "servers out of reach get no request"
        if version == MODERN:
            (asked,) = [body for _, body in seen.of("subscriptions/listen")]
            assert asked["params"]["notifications"]["resourceSubscriptions"] == ["r://1"]
        else:
            assert [body["params"] for _, body in seen.of("resources/subscribe")] == [{"uri": "r://1"}]


@pytest.mark.parametrize("version", [LEGACY, MODERN])
async def test_a_legacy_session_gets_updates_of_subscriptions_made_at_any_worker(
    version: str,
) -> None:
    server = Subscribing()
    async with fleet(server, version) as (world, seen):
        token = world.store.issue(world.store.grant(resources=True))
        async with world.client(token) as client, hearing(client) as (reader, headers):
            subscription = request("resources/subscribe", {"uri": "mcp+calc+r://1"})
            assert (await client.post("/mcp", json=subscription, headers=headers)).json()["result"] == {}
            await server.listening.wait()
            server.more.put_nowait(updated("r://1"))
            assert (await reader.next())["params"] == {"uri": "mcp+calc+r://1"}
            # As if another worker had stored it.
            (session_id,) = world.store.notes
            notes = world.store.notes[session_id]
            world.store.notes[session_id] = replace(notes, subscriptions=frozenset())
            world.gateway.forget_session_settings(session_id)
            await server.left.wait()
        assert len(seen.of("resources/subscribe")) == (2 if version == LEGACY else 0)
        assert {call.action for call in world.store.calls} >= {"resource.subscribe", "mcp.listen"}


async def test_subscriptions_are_refused_as_the_server_says_and_beyond_reach_number_and_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.gateway.aggregate.sessions.MAX_URIS", 1)
    async with fleet(Subscribing(), LEGACY) as (world, seen):
        store = world.store
        reaching, narrow = (store.issue(store.grant(resources=reach)) for reach in (True, False))

        async def ask(client: httpx2.AsyncClient, session: str, what: str, uri: str) -> Any:
            return (await post(client, "/mcp", request(what, {"uri": uri}), mcp_session_id=session)).json()

        async with world.client(reaching) as client, world.client(narrow) as other:
            session = (await post(client, "/mcp", initialize())).headers["mcp-session-id"]
            refused = await ask(client, session, "resources/subscribe", "mcp+calc+r://unknown")
            assert refused["error"]["code"] == -32002
            assert not store.notes
            assert (await ask(client, session, "resources/subscribe", "mcp+calc+r://1"))["result"] == {}
            long = await ask(client, session, "resources/subscribe", "mcp+calc+r://" + "x" * 1024)
            assert long["error"]["code"] == -32602
            many = await ask(client, session, "resources/subscribe", "mcp+calc+r://2")
            assert many["error"]["code"] == -32602
            assert (await ask(client, session, "resources/unsubscribe", "mcp+calc+r://1"))["result"] == {}
            assert (await ask(client, session, "resources/subscribe", "mcp+calc+r://2"))["result"] == {}
            (notes,) = store.notes.values()
            assert notes.subscriptions == {"mcp+calc+r://2"}
            asked = len(seen.of("resources/subscribe"))
            long = await ask(client, session, "resources/subscribe", "mcp+calc+r://" + "x" * 5000)
            assert long["error"]["code"] == -32602
            assert len(seen.of("resources/subscribe")) == asked, "no server gets a request"
            theirs = (await post(other, "/mcp", initialize())).headers["mcp-session-id"]
            hidden = await ask(other, theirs, "resources/subscribe", "mcp+calc+r://1")
            assert hidden["error"]["message"] == "Resource not found"
            body, headers = modern(request("resources/subscribe", {"uri": "mcp+calc+r://1"}))
            assert (await client.post("/mcp", json=body, headers=headers)).status_code == 404


class Counting(Subscribing):
    """Counts open and past streams."""

    open = 0
    streams = 0

    async def _until_left(self, receive: Any, send: Any) -> None:
        self.open += 1
        self.streams += 1
        self.listening.set()

        async def until_gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        gone = asyncio.create_task(until_gone())
        while not gone.done():
            getting = asyncio.create_task(self.more.get())
            await asyncio.wait({getting, gone}, return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                await send({"type": "http.response.body", "body": getting.result(), "more_body": True})
            getting.cancel()
        self.open -= 1
        self.left.set()


async def test_a_second_subscription_at_a_server_reopens_its_stream_with_both() -> None:
    server = Counting()
    async with fleet(server, MODERN) as (world, _):
        token = world.store.issue(world.store.grant(resources=True))
        async with world.client(token) as client, hearing(client) as (reader, headers):
            for count, uri in enumerate(("r://1", "s://2"), 1):
                subscription = request("resources/subscribe", {"uri": f"mcp+calc+{uri}"})
                assert (await client.post("/mcp", json=subscription, headers=headers)).json()["result"] == {}
                while (server.streams, server.open) != (count, 1):  # noqa: ASYNC110  nothing tells of it
                    await asyncio.sleep(0.01)
            for uri in ("r://1", "s://2"):
                server.more.put_nowait(updated(uri))
                assert (await reader.next())["params"] == {"uri": f"mcp+calc+{uri}"}


async def test_what_a_server_says_of_its_lists_is_sent_once_however_often_it_says_it() -> None:
    server = Subscribing()
    wanted = {**ALL, "resourceSubscriptions": ["mcp+calc+r://1"]}
    async with fleet(server, MODERN) as (world, _):
        token = world.store.issue(world.store.grant(resources=True))
        async with world.client(token) as client, listening(client, wanted) as (reader, _):
            await server.listening.wait()
            said = [
                event({"jsonrpc": "2.0", "method": f"notifications/{kind}/list_changed"})
                for kind in ("prompts", "tools", *["resources"] * 100)
            ]
            server.more.put_nowait(b"".join(said) + updated("r://1"))
            heard: list[str] = []
            while "notifications/resources/updated" not in heard:
                heard.append((await reader.next())["method"])
            assert set(heard) == {"notifications/resources/list_changed", "notifications/resources/updated"}
            assert len(heard) <= 5
        assert world.store.syncs, "its tools are read again"


async def test_an_ended_upstream_stream_is_reopened() -> None:
    server = Subscribing()
    async with fleet(server, MODERN) as (world, seen):
        token = world.store.issue(world.store.grant(resources=True))
        wanted = {"resourceSubscriptions": ["mcp+calc+r://1"]}
        async with world.client(token) as client, listening(client, wanted) as (reader, _):
            await server.listening.wait()
            server.listening.clear()
            server.more.put_nowait(b"")
            await server.listening.wait()
            server.more.put_nowait(updated("r://1"))
            assert (await reader.next())["method"] == "notifications/resources/updated"
        assert len(seen.of("subscriptions/listen")) == 2


async def test_a_stream_ends_at_its_timeout_with_a_last_message() -> None:
    times = CallTimes(listen=Timeouts(total=0.2))
    async with running(times=times) as world, world.client(world.store.issue()) as client:
        async with listening(client, ALL) as (reader, _):
            last = await reader.next()
            assert last["result"] == {"resultType": "complete", "_meta": {SUBSCRIPTION: "l"}}
            assert await reader.next() is None
        async with hearing(client) as (reader, _):
            assert await reader.next() is None
    outcomes = [world.store.outcomes[call.id] for call in world.store.admitted("mcp.listen")]
    assert outcomes == ["success", "success"]


async def test_the_real_client_listens_through_the_gateway() -> None:
    async with asyncio.timeout(50), running() as world, serve(fixture_app(), lifespan="on") as origin:
        await world.register("fixture", f"{origin}/mcp")
        token = world.store.issue(world.store.grant(resources=True))
        async with world.client(token) as http_client:
            transport = streamable_http_client(f"{world.url}/mcp", http_client=http_client)
            uri = "mcp+fixture+test://watched-resource"
            async with (
                Client(transport, mode="auto") as client,
                client.listen(tools_list_changed=True, resource_subscriptions=[uri]) as heard,
            ):
                assert heard.honored.tools_list_changed
                assert heard.honored.resource_subscriptions == [uri]
                while len(world.store.watched) < 2:  # noqa: ASYNC110  the stream with the server opens later
                    await asyncio.sleep(0.01)
                telling = asyncio.create_task(tell(ResourceUpdated("test://watched-resource")))
                assert (await anext(heard)) == ResourceUpdated(uri)
                telling.cancel()
                world.store.change_server("fixture", tools={})
                await world.store.look_again()
                while type(await anext(heard)).__name__ != "ToolsListChanged":
                    pass


async def tell(event: Any) -> None:
    """Notify until a client listens."""
    while True:
        await BUS.publish(event)
        await asyncio.sleep(0.05)


async def test_the_real_legacy_client_is_notified_of_changed_tools() -> None:
    changed = asyncio.Event()

    async def hear(message: Any) -> None:
        if "ToolListChanged" in type(message).__name__:
            changed.set()

    async with asyncio.timeout(50), running() as world, reference(modern=False) as (url, _):
        await world.register("calc", url)
        async with world.client(world.store.issue(world.store.grant())) as http_client:
            transport = streamable_http_client(f"{world.url}/mcp", http_client=http_client)
            async with Client(transport, mode="legacy", message_handler=hear) as client:
                assert client.server_capabilities.tools is not None
                assert client.server_capabilities.tools.list_changed
                while not world.store.admitted("mcp.listen"):  # noqa: ASYNC110  it opens its stream later
                    await asyncio.sleep(0.01)
                world.store.change_server("calc", tools={})
                await world.store.look_again()
                await changed.wait()
                assert (await client.list_tools()).tools == []
