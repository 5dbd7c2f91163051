"""Lists of all servers: their pages, and the effects of one hostile or dead server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import uuid4

import httpx2
import pytest

from app.admission.store import View
from app.gateway.aggregate import lists as paging
from app.gateway.aggregate.lists import MAX_BYTES, ListPosition, fetch_pages
from app.gateway.aggregate.sessions import Connection
from app.gateway.pipeline import InFlightCall, Pipeline
from app.outbound.mcp.exchange import McpUpstreamError, Result
from tests.gateway.messages import MODERN, initialize, post, post_modern, request
from tests.gateway.upstreams import Seen, scripted, send_json
from tests.gateway.world import CREDENTIAL, World, running

UNREACHABLE = "io.scopegate/unreachable"
KEYS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}


class Endless:
    """A connection whose list never ends; each page holds a megabyte."""

    def __init__(self) -> None:
        self.pages = 0

    async def answer(self, _method: str, _params: dict[str, Any], **_options: Any) -> Result:
        self.pages += 1
        return Result({"tools": [{"name": "x" * 1_000_000}], "nextCursor": str(self.pages)}, 1_000_000, True)


async def test_a_list_that_never_ends_is_given_up_before_it_fills_the_memory() -> None:
    endless, call = Endless(), InFlightCall(cast("Pipeline", None), uuid4(), cast("View", None), None, None)
    with pytest.raises(McpUpstreamError) as caught:
        await fetch_pages(cast("Connection", endless), call, "tools/list", "tools", ListPosition("x"))
    assert caught.value.kind == "too_large"
    assert endless.pages <= MAX_BYTES // 1_000_000 + 1


async def test_an_oversized_page_is_not_read_completely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paging, "MAX_BYTES", 10_000)

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        result = {"resultType": "complete", "tools": [], "extra": "x" * 10_000}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async with (
        fleet(calc=script) as (world, _),
        world.client(world.store.issue(world.store.grant())) as client,
    ):
        result = (await post_modern(client, "/mcp", request("tools/list"))).json()["result"]
    assert [each["server"] for each in result["_meta"][UNREACHABLE]] == ["calc"]
    assert "too large" in result["_meta"][UNREACHABLE][0]["reason"]


def pages_of(method: str, pages: list[list[Any]], *, circle: bool = False) -> Any:
    """A modern server with a list in pages, whose cursors are page numbers; with ``circle``, it starts again."""

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        key, result = KEYS.get(message["method"]), {"resultType": "complete"}
        if message["method"] == method:
            page = int(message["params"].get("cursor", "0"))
            result[KEYS[method]] = cast("Any", pages[page])
            if circle or page + 1 < len(pages):
                result["nextCursor"] = str((page + 1) % len(pages))
        elif key is not None:
            result[key] = cast("Any", [])
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    return script


@asynccontextmanager
async def fleet(
    **scripts: Callable[[Any, Any, Any], Awaitable[None]],
) -> AsyncIterator[tuple[World, dict[str, Seen]]]:
    """A gateway before these servers, all of the modern era."""
    async with running() as world, asyncio.timeout(50), _served(world, dict(scripts)) as seen:
        yield world, seen


@asynccontextmanager
async def _served(world: World, scripts: dict[str, Any]) -> AsyncIterator[dict[str, Seen]]:
    if not scripts:
        yield {}
        return
    slug, script = scripts.popitem()
    async with scripted(script) as (url, seen), _served(world, scripts) as others:
        world.store.register(slug, url, (MODERN,), [])
        yield {**others, slug: seen}


def prompts(*names: str) -> list[Any]:
    return [{"name": name} for name in names]


async def listed(client: httpx2.AsyncClient, method: str, cursor: str | None = None) -> dict[str, Any]:
    params = None if cursor is None else {"cursor": cursor}
    answer = await post_modern(client, "/mcp", request(method, params))
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()["result"]
    return result


async def all_pages(client: httpx2.AsyncClient, method: str) -> list[list[str]]:
    found: list[list[str]] = []
    cursor = None
    while cursor is not None or not found:
        result = await listed(client, method, cursor)
        found.append([item["name"] for item in result[KEYS[method]]])
        cursor = result.get("nextCursor")
    return found


def everything(world: World) -> str:
    return world.store.issue(world.store.grant(None, prompts=True, resources=True))


async def test_pages_continue_across_pages_and_servers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.gateway.aggregate.lists.PAGE_ITEMS", 3)
    method = "prompts/list"
    async with (
        fleet(
            a=pages_of(method, [prompts("1", "2"), prompts("3", "4"), prompts("5")]),
            b=pages_of(method, [[], prompts("1")]),
            c=pages_of(method, [prompts("1")]),
        ) as (world, seen),
        world.client(everything(world)) as client,
    ):
        assert await all_pages(client, method) == [
            ["a__1", "a__2", "a__3", "a__4"],
            ["a__5", "b__1", "c__1"],
        ]
        asked = [body["params"].get("cursor") for _, body in seen["a"].of(method)]
        assert asked == [None, "1", "2"]


async def test_many_servers_are_listed_completely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.aggregate.lists.MAX_AT_ONCE", 2)
    method = "prompts/list"
    one = pages_of(method, [prompts("p")])
    async with (
        fleet(a=one, b=one, c=one, d=one, e=one) as (world, _),
        world.client(everything(world)) as client,
    ):
        assert await all_pages(client, method) == [[f"{slug}__p" for slug in "abcde"]]
        monkeypatch.setattr("app.gateway.aggregate.lists.LIST_SECONDS", 0.0)
        monkeypatch.setattr("app.gateway.aggregate.lists._gather", gave_nothing)
        assert await all_pages(client, method) == [[], [], []]


async def gave_nothing(parts: Any) -> Any:
    """All servers of a wave took as long as they may."""
    from app.gateway.aggregate.lists import ServerPage

    for part in parts:
        part.close()
    return [ServerPage([]) for _ in parts]


async def test_a_cursor_is_of_use_to_its_token_and_its_list_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.aggregate.lists.PAGE_ITEMS", 1)
    method = "prompts/list"
    async with (
        fleet(a=pages_of(method, [prompts("1"), prompts("2")])) as (world, seen),
        world.client(everything(world)) as client,
        world.client(everything(world)) as other,
    ):
        cursor = (await listed(client, method))["nextCursor"]
        seen["a"].requests.clear()
        for who, what, given in (
            (other, method, cursor),
            (client, "resources/list", cursor),
            (client, method, cursor[:-2]),
            (client, method, "1"),
            (client, method, ""),
            (client, method, None),
            (client, method, 1),
        ):
            answer = await post_modern(who, "/mcp", request(what, {"cursor": given}))
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32602)
        session = (await post(client, "/mcp", initialize())).headers["mcp-session-id"]
        bad = await post(client, "/mcp", request(method, {"cursor": "1"}), mcp_session_id=session)
        assert (bad.status_code, bad.json()["error"]["code"]) == (200, -32602)
        assert not seen["a"].requests
        # The grant has ended, so the list continues with what is still in reach.
        world.store.change_server("a", enabled=False)
        assert (await listed(client, method, cursor))["prompts"] == []


async def test_a_silent_server_is_reported_and_does_not_keep_the_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent(message: dict[str, Any], receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    monkeypatch.setattr("app.gateway.aggregate.lists.LIST_SECONDS", 1.0)
    method = "prompts/list"
    async with fleet(a=silent, b=pages_of(method, [prompts("p")])) as (world, _):
        async with world.client(everything(world)) as client:
            result = await listed(client, method)
        assert [prompt["name"] for prompt in result["prompts"]] == ["b__p"]
        assert result["_meta"][UNREACHABLE] == [{"server": "a", "reason": "It did not answer in time."}]
        outcomes = {
            call.server.slug: world.store.outcomes[call.id]
            for call in world.store.admitted("prompts.list")
            if call.server is not None
        }
        assert outcomes == {"a": "error", "b": "success"}


@pytest.mark.parametrize(
    ("method", "good", "bad"),
    [
        ("prompts/list", {"name": "p"}, [{"name": 1}, {}, "p", None, {"name": "q", "arguments": 5}]),
        (
            "resources/list",
            {"uri": "r://1", "name": "r"},
            [{"uri": "no scheme", "name": "r"}, {"uri": "r://2"}],
        ),
        (
            "resources/templates/list",
            {"uriTemplate": "r://{x}", "name": "t"},
            [{"uriTemplate": 1, "name": "t"}],
        ),
    ],
)
async def test_one_bad_item_does_not_spoil_the_list(method: str, good: Any, bad: list[Any]) -> None:
    async with fleet(a=pages_of(method, [[*bad, good, good]])) as (world, _):
        async with world.client(everything(world)) as client:
            result = await listed(client, method)
        assert len(result[KEYS[method]]) == 1, "what is good, once"
        assert [note["server"] for note in result["_meta"][UNREACHABLE]] == ["a"]


@pytest.mark.parametrize("listing", [{"prompts": 5}, {"prompts": {}}, {"prompts": [], "nextCursor": 7}])
async def test_an_invalid_list_is_reported(listing: Any) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": listing})

    async with fleet(a=script, b=pages_of("prompts/list", [prompts("p")])) as (world, _):
        async with world.client(everything(world)) as client:
            result = await listed(client, "prompts/list")
        assert [prompt["name"] for prompt in result["prompts"]] == ["b__p"]
        assert [note["server"] for note in result["_meta"][UNREACHABLE]] == ["a"]


async def test_a_list_that_goes_in_a_circle_or_on_for_ever_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.aggregate.lists.MAX_TAKEN", 5)
    monkeypatch.setattr("app.gateway.aggregate.lists.PAGE_ITEMS", 2)
    many = [prompts(f"{page}") for page in range(20)]
    circle = pages_of("prompts/list", [prompts("0")], circle=True)
    async with (
        fleet(a=pages_of("prompts/list", many), b=circle) as (world, seen),
        world.client(everything(world)) as client,
    ):
        found = await all_pages(client, "prompts/list")
        assert sum(len(page) for page in found) == 5
        assert len(seen["a"].of("prompts/list")) == 5
        assert len(seen["b"].of("prompts/list")) <= 6


async def test_lists_hold_what_the_grants_reach_and_no_credential() -> None:
    leaky = {"name": "p", "description": f"use {CREDENTIAL.decode()}"}
    one = pages_of("prompts/list", [[leaky]])
    async with fleet(a=one, b=one) as (world, seen):
        store = world.store
        grants = [
            store.grant(store.servers["a"], prompts=True),
            store.grant(store.servers["b"], resources=True),
        ]
        async with world.client(store.issue(*grants)) as client:
            result = await listed(client, "prompts/list")
            assert result["prompts"] == [{"name": "a__p", "description": "use [redacted]"}]
            assert (result["cacheScope"], result["ttlMs"]) == ("private", 0)
            assert not seen["b"].requests
            # One server has no prompts, and says so: no reason to tell.
            assert UNREACHABLE not in (await listed(client, "tools/list")).get("_meta", {})
