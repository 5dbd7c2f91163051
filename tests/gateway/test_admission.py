"""Nothing is forwarded without a current admission, and every admitted call gets an outcome."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from app.admission.store import DecidedCall
from tests.gateway.messages import LEGACY, MODERN, call, post, post_modern, request
from tests.gateway.upstreams import Seen, event, scripted, send_events, send_json
from tests.gateway.world import World, running

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("add", "hang", "stream")]


class Bench:
    def __init__(self, world: World, seen: Seen, client: httpx2.AsyncClient, token: str) -> None:
        self.world, self.seen, self.client, self.token = world, seen, client, token
        self.store = world.store
        self.upstream_left = asyncio.Event()
        self.upstream_has_it = asyncio.Event()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made: list[Bench] = []

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        name = message["params"].get("name")
        if name == "add":
            await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}})
            return
        if name == "stream":
            note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}
            await send_events(send, event(note), last=False)
        made[0].upstream_has_it.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        made[0].upstream_left.set()

    async with running() as world, scripted(script) as (url, seen):
        world.store.register("calc", url, (MODERN, LEGACY), TOOLS)
        token = world.store.issue(world.store.grant())
        async with world.client(token) as client:
            made.append(Bench(world, seen, client, token))
            yield made[0]


async def test_a_call_after_the_revocation_is_refused_though_the_worker_does_not_know(bench: Bench) -> None:
    assert (await post(bench.client, "/mcp/calc", call("add"))).status_code == 200
    bench.store.change(bench.token, revoked=True)
    assert (await post(bench.client, "/mcp/calc", call("add"))).status_code == 401
    assert (await post(bench.client, "/mcp/calc", call("add"))).status_code == 401
    assert len(bench.seen.requests) == 1
    assert bench.store.refused == ["token_revoked"] * 2


async def test_a_new_grant_works_at_a_worker_with_outdated_data(bench: Bench) -> None:
    tools = dict(bench.store.servers["calc"].tools)
    bench.store.change_server("calc", tools={})
    assert "Unknown tool" in (await post(bench.client, "/mcp/calc", call("add"))).text
    bench.store.change_server("calc", tools=tools)
    assert "result" in (await post(bench.client, "/mcp/calc", call("add"))).json()


async def test_a_denial_at_a_changed_server_out_of_reach_is_recorded(bench: Bench) -> None:
    bench.store.register("vault", "http://127.0.0.1:9", (MODERN, LEGACY), TOOLS)
    narrow = bench.store.issue(bench.store.grant(bench.store.servers["calc"]))
    async with bench.world.client(narrow) as client:
        assert (await post(client, "/mcp/vault", call("add"))).status_code == 404
        bench.store.change_server("vault")
        assert (await post(client, "/mcp/vault", call("add"))).status_code == 404
    assert [each.decision.reason_code for each in bench.store.calls] == ["no_grant"] * 2


async def test_an_always_stale_decision_ends_in_503_after_three_retries(bench: Bench) -> None:
    def move(call: DecidedCall) -> None:
        bench.store.change_server("calc")

    bench.store.at_admission = move
    answer = await post(bench.client, "/mcp/calc", call("add", {}, "x"))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["id"] == "x"
    assert bench.store.refreshes == 4
    assert not bench.seen.requests


async def test_nothing_is_sent_on_an_admission_older_than_a_second(bench: Bench) -> None:
    bench.store.age = 1.5
    assert (await post(bench.client, "/mcp/calc", call("add"))).status_code == 503
    assert not bench.seen.requests
    assert set(bench.store.outcomes.values()) == {"not_forwarded"}


async def test_a_cut_before_the_call_is_sent_prevents_it(bench: Bench) -> None:
    def cut(call: DecidedCall) -> None:
        if call.decision.allowed:
            bench.store.cut_all()
            bench.store.change(bench.token, revoked=True)
            bench.store.versions[call.token.id] = call.token.version  # As if the row had just slipped in.

    bench.store.at_admission = cut
    assert (await post(bench.client, "/mcp/calc", call("add"))).status_code == 401
    assert not bench.seen.requests
    assert list(bench.store.outcomes.values()) == ["not_forwarded"]


@pytest.mark.parametrize("name", ["hang", "stream"])
@pytest.mark.parametrize("send", [post, post_modern])
async def test_a_running_call_is_cut_on_both_legs(bench: Bench, name: str, send: Any) -> None:
    running_call = asyncio.create_task(send(bench.client, "/mcp/calc", call(name)))
    async with asyncio.timeout(50):
        await bench.upstream_has_it.wait()
        bench.store.cut_all()
        answer = await running_call
        await bench.upstream_left.wait()
    assert "withdrawn" in answer.text
    assert list(bench.store.outcomes.values()) == ["cancelled"]


@pytest.mark.parametrize("name", ["hang", "stream"])
async def test_a_modern_client_that_leaves_cancels(bench: Bench, name: str) -> None:
    running_call = asyncio.create_task(post_modern(bench.client, "/mcp/calc", call(name)))
    async with asyncio.timeout(50):
        await bench.upstream_has_it.wait()
        running_call.cancel()
        await bench.upstream_left.wait()
    assert list(bench.store.outcomes.values()) == ["cancelled"]


async def test_a_legacy_client_that_leaves_does_not_cancel(bench: Bench) -> None:
    running_call = asyncio.create_task(post(bench.client, "/mcp/calc", call("hang")))
    async with asyncio.timeout(50):
        await bench.upstream_has_it.wait()
        running_call.cancel()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await bench.upstream_left.wait()
    assert not bench.store.outcomes
    bench.store.cut_all()
    await bench.upstream_left.wait()


async def test_what_is_out_of_reach_and_what_does_not_exist_are_one_answer(bench: Bench) -> None:
    store = bench.store
    other = store.register("other", "http://127.0.0.1:9/mcp", (LEGACY,), TOOLS)
    off = store.register("off", "http://127.0.0.1:9/mcp", (LEGACY,), TOOLS)
    store.change_server("off", enabled=False)
    del off
    async with bench.world.client(store.issue(store.grant(other))) as client:
        for send, message in [
            (post, call("add")),
            (post, call("absent")),
            (post, request("tools/list")),
            (post_modern, call("add")),
            (post_modern, request("server/discover")),
        ]:
            answers = [await send(client, f"/mcp/{slug}", message) for slug in ("calc", "absent", "off")]
            assert {(answer.status_code, answer.content) for answer in answers} == {(404, answers[0].content)}
    reasons = {call.decision.reason_code for call in store.calls}
    assert {"no_grant", "server_unknown", "server_disabled"} <= reasons


async def test_hidden_tools_answer_like_tools_that_do_not_exist(bench: Bench) -> None:
    server = bench.store.servers["calc"]
    async with bench.world.client(bench.store.issue(bench.store.grant(server, "add"))) as client:
        for send, status in ((post, 200), (post_modern, 400)):
            for name in ("hang", "absent", "ADD", ""):
                answer = await send(client, "/mcp/calc", call(name))
                assert answer.status_code == status
                assert answer.json()["error"] == {"code": -32602, "message": f"Unknown tool: {name}"}
    assert not bench.seen.requests


async def test_an_unreachable_upstream_is_reported_and_recorded(bench: Bench) -> None:
    bench.store.register("gone", "http://127.0.0.1:9/mcp", (LEGACY,), TOOLS)
    bench.store.register("inside", "http://10.0.0.1/mcp", (LEGACY,), TOOLS)
    for slug in ("gone", "inside"):
        answer = await post(bench.client, f"/mcp/{slug}", call("add"))
        assert answer.status_code == 502
        assert "10.0.0.1" not in answer.text
    assert list(bench.store.outcomes.values()) == ["not_forwarded"] * 2


async def test_an_unexpected_fault_is_logged_by_its_place_and_not_its_words(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(admitted: DecidedCall) -> None:
        raise ValueError(f"could not take {admitted.arguments}")

    bench.store.at_admission = fail
    answer = await post(bench.client, "/mcp/calc", call("add", {"a": "what-a-client-sent"}))
    assert answer.status_code == 503
    assert "ValueError" in caplog.text
    assert "in admit" in caplog.text
    assert "what-a-client-sent" not in caplog.text + answer.text
