"""Rate limits and concurrent-request limits of tokens and identities."""

import asyncio
from dataclasses import replace
from typing import Any, Literal

import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from app.domain.objects import Token
from app.domain.token_format import SCOPED_TOKEN, parse_credential
from app.gateway import limits
from app.gateway.limits import WINDOW_S, Allowance
from tests.gateway.messages import LEGACY, call, initialize, post, post_modern, request
from tests.gateway.upstreams import reference, scripted, send_json
from tests.gateway.world import Store, World, running

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("add", "slow")]


class Clock:
    """A clock that the test advances."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(limits, "monotonic", lambda: self.now)


async def answers(message: dict[str, Any], receive: Any, send: Any) -> None:
    await send_json(send, 200, {"jsonrpc": "2.0", "id": message.get("id"), "result": {"content": []}})


def sibling(world: World, text: str) -> str:
    """Another token of the same identity."""
    other, credential = world.store.issue(), parse_credential(text, SCOPED_TOKEN)
    also = parse_credential(other, SCOPED_TOKEN)
    assert credential is not None
    assert also is not None
    secret, token = world.store.tokens[also.id]
    world.store.tokens[also.id] = (
        secret,
        replace(token, identity=world.store.tokens[credential.id][1].identity),
    )
    return other


async def test_a_token_that_calls_too_often_gets_a_time_to_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    async with running(per_token=Allowance(calls=3)) as world, scripted(answers) as (url, seen):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        token, other = (world.store.issue(world.store.grant()) for _ in range(2))
        async with world.client(token) as client, world.client(other) as others:
            for _ in range(3):
                assert (await post(client, "/mcp/calc", call("add"))).status_code == 200
            refused = await post(client, "/mcp/calc", call("add"))
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "20")
            assert refused.headers["content-type"] == "application/json"
            assert (refused.json()["jsonrpc"], refused.json()["id"]) == ("2.0", None)
            assert "Try again in 20 s" in refused.json()["error"]["message"]
            assert (await post(others, "/mcp/calc", call("add"))).status_code == 200
            assert (len(world.store.calls), len(seen.of("tools/call"))) == (4, 4)
            assert world.store.refused == ["rate_limited"]
            clock.now += WINDOW_S / 3
            assert [(await post(client, "/mcp/calc", call("add"))).status_code for _ in range(2)] == [
                200,
                429,
            ]
            clock.now += WINDOW_S * 10
            got = [(await post(client, "/mcp/calc", call("add"))).status_code for _ in range(4)]
            assert got == [200, 200, 200, 429]


async def test_every_kind_of_request_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    async with running(per_token=Allowance(calls=1)) as world, scripted(answers) as (url, _):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        for path in ("/mcp", "/mcp/calc", "/mcp/unknown"):
            async with world.client(world.store.issue(world.store.grant())) as client:
                await client.get(path)
                messages: list[Any] = [
                    initialize(),
                    call("add"),
                    request("ping"),
                    {"jsonrpc": "2.0", "method": "notifications/initialized"},
                    {"jsonrpc": "2.0", "id": 1, "result": {}},
                    [],
                ]
                for message in messages:
                    assert (await post(client, path, message)).status_code == 429
                assert (await post_modern(client, path, request("server/discover"))).status_code == 429
                for method in ("GET", "DELETE", "PUT"):
                    assert (await client.request(method, path)).status_code == 429


async def test_an_identity_has_a_limit_for_all_of_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    async with running(per_identity=Allowance(calls=2)) as world:
        first, stranger = world.store.issue(), world.store.issue()
        tokens = [first, sibling(world, first), sibling(world, first), stranger]
        statuses = []
        for token in tokens:
            async with world.client(token) as client:
                statuses.append((await post(client, "/mcp", initialize())).status_code)
        assert statuses == [200, 200, 429, 200]


async def test_a_list_counts_as_much_as_the_servers_that_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    async with running(per_token=Allowance(calls=4)) as world, reference() as (url, _):
        for slug in ("calc", "other"):
            await world.register(slug, url)
        async with world.client(world.store.issue(world.store.grant())) as client:
            listed = await post_modern(client, "/mcp", request("tools/list"))
            assert {tool["name"].split("__")[0] for tool in listed.json()["result"]["tools"]} == {
                "calc",
                "other",
            }
            got = [
                (await post_modern(client, "/mcp", request("server/discover"))).status_code for _ in range(2)
            ]
            assert got == [200, 429]


async def test_refused_requests_do_not_count_against_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    allowed = {"per_token": Allowance(calls=1), "per_identity": Allowance(calls=2)}
    async with running(**allowed) as world:
        first = world.store.issue()
        async with world.client(first) as client, world.client(sibling(world, first)) as other:
            got = [(await post(client, "/mcp", initialize())).status_code for _ in range(5)]
            assert got == [200, 429, 429, 429, 429]
            assert (await post(other, "/mcp", initialize())).status_code == 200
            clock.now += WINDOW_S
            assert (await post(client, "/mcp", initialize())).status_code == 200


@pytest.mark.parametrize("whose", ["per_token", "per_identity"])
async def test_so_many_requests_are_served_at_once_and_the_place_of_each_is_given_back(whose: str) -> None:
    hung, go = asyncio.Semaphore(0), asyncio.Event()

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        hung.release()
        await go.wait()
        await answers(message, receive, send)

    async with running(**{whose: Allowance(concurrent=2)}) as world, scripted(script) as (url, _):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        token = world.store.issue(world.store.grant())
        async with world.client(token) as client, asyncio.timeout(50):
            held = [asyncio.create_task(post(client, "/mcp/calc", call("slow"))) for _ in range(2)]
            for _ in held:
                await hung.acquire()
            refused = await post(client, "/mcp/calc", call("slow"))
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert world.store.refused == ["too_many_concurrent_requests"]
            if whose == "per_identity":
                async with world.client(sibling(world, token)) as other:
                    assert (await post(other, "/mcp/calc", call("slow"))).status_code == 429
            go.set()
            assert [answer.status_code for answer in await asyncio.gather(*held)] == [200, 200]
            for _ in range(5):
                assert (await post(client, "/mcp/calc", call("slow"))).status_code == 200
                assert (await post(client, "/mcp/calc", [])).status_code == 400
                assert (await client.get("/mcp/unknown")).status_code == 404


async def test_streams_of_an_identity_are_counted_across_its_tokens() -> None:
    opened = asyncio.Event()

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b": hi\n\n", "more_body": True})
        opened.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    async with running(per_identity=Allowance(streams=1)) as world, scripted(script) as (url, _):
        world.store.register("calc", url, (LEGACY,), TOOLS)
        token = world.store.issue(world.store.grant())
        async with (
            asyncio.timeout(50),
            world.client(token) as client,
            world.client(sibling(world, token)) as other,
            client.stream("GET", "/mcp/calc", headers={"mcp-protocol-version": LEGACY}) as stream,
        ):
            assert stream.status_code == 200
            await opened.wait()
            refused = await other.get("/mcp/calc", headers={"mcp-protocol-version": LEGACY})
            assert refused.status_code == 429
            assert "identity of this token" in refused.json()["error"]["message"]


async def test_unknown_tokens_do_not_count_against_limits() -> None:
    async with running(per_token=Allowance(calls=1)) as world:
        token = world.store.issue()
        wrong = token[:-10] + ("a" * 10)
        for text in (None, "nonsense", wrong):
            async with world.client(text) as client:
                for _ in range(3):
                    assert (await post(client, "/mcp", initialize())).status_code == 401
        async with world.client(token) as client:
            assert (await post(client, "/mcp", initialize())).status_code == 200


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_real_client_shows_why_it_was_refused(mode: Literal["auto", "legacy"]) -> None:
    async with running(per_token=Allowance(calls=8)) as world, reference() as (url, _):
        token = world.store.issue(world.store.grant(await world.register("calc", url)))
        async with world.client(token) as http_client:
            transport = streamable_http_client(f"{world.url}/mcp/calc", http_client=http_client)
            async with Client(transport, mode=mode) as client:

                async def go_on() -> None:
                    for _ in range(9):
                        await client.call_tool("add", {"a": 2, "b": 3})

                with pytest.raises(MCPError, match="has reached its rate limit"):
                    await go_on()


def test_each_worker_has_its_share_and_at_least_one() -> None:
    assert Allowance(100, 10, 3).share(4) == Allowance(25, 2, 1)
    assert Allowance(0, 0, 0).share(4) == Allowance(0, 0, 0)


def test_only_idle_tokens_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, store = Clock(monkeypatch), Store()
    monkeypatch.setattr(limits, "_FORGET_AT", 10)
    kept = limits.CallLimits(store, Allowance(calls=60), Allowance(calls=60))

    def new() -> Token:
        credential = parse_credential(store.issue(), SCOPED_TOKEN)
        assert credential is not None
        return store.tokens[credential.id][1]

    busy, spent = new(), new()
    first, second = kept._new(busy), kept._new(spent)
    first.open, second.shared.free_at = 1, clock.now + 3600
    for _ in range(100):
        clock.now += 1
        kept._new(new()).free_at = clock.now
        assert len(kept._usages) <= 10
        assert len(kept._shared) <= 11
    assert kept._usages[busy.id.int] is first
    assert kept._new(spent).shared is second.shared
