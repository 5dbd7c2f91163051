"""Tools are matched by exact name, and unapproved definitions are hidden."""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from unicodedata import normalize

import httpx2
import pytest

from app.domain.objects import ToolState
from tests.gateway.messages import LEGACY, MODERN, call, modern, post_modern, request
from tests.gateway.upstreams import Seen, scripted, send_json
from tests.gateway.world import World, running

# One name to the eye, or to a parser that trims, folds or normalises.
NAMES = ["höher", normalize("NFD", "höher"), "Höher", "höher ", "höher\u200b", "HÖHER", "h%C3%B6her"]
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in NAMES]


@asynccontextmanager
async def fleet() -> AsyncIterator[tuple[World, Seen, httpx2.AsyncClient]]:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        result: dict[str, Any] = {"resultType": "complete"}
        result |= {"tools": TOOLS} if message["method"] == "tools/list" else {"content": []}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async with running() as world, scripted(script) as (url, seen):
        world.store.register("calc", url, (MODERN, LEGACY), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            yield world, seen, client


def placed(path: str, name: str) -> str:
    return f"calc__{name}" if path == "/mcp" else name


def header_safe(name: str) -> str:
    """As a client writes a name that no header can hold."""
    return f"=?base64?{b64encode(name.encode()).decode()}?="


async def use(client: httpx2.AsyncClient, path: str, name: str) -> httpx2.Response:
    body, headers = modern(call(placed(path, name)))
    return await client.post(
        path, json=body, headers={**headers, "mcp-name": header_safe(placed(path, name))}
    )


@pytest.mark.parametrize("path", ["/mcp/calc", "/mcp"])
async def test_a_grant_of_one_name_gives_no_other_that_looks_like_it(path: str) -> None:
    async with fleet() as (world, seen, _):
        for granted in NAMES:
            token = world.store.issue(world.store.grant(world.store.servers["calc"], granted))
            async with world.client(token) as client:
                listed = (await post_modern(client, path, request("tools/list"))).json()["result"]["tools"]
                assert [tool["name"] for tool in listed] == [placed(path, granted)]
                seen.requests.clear()
                for name in NAMES:
                    answer = await use(client, path, name)
                    assert answer.status_code == (200 if name == granted else 400)
                assert [body["params"]["name"] for _, body in seen.of("tools/call")] == [granted]


@pytest.mark.parametrize("path", ["/mcp/calc", "/mcp"])
async def test_a_changed_definition_is_hidden_until_it_is_approved(path: str) -> None:
    async with fleet() as (world, seen, client):
        approved = dict(world.store.servers["calc"].tools)
        held = replace(approved["höher"], state=ToolState.QUARANTINED)
        world.store.change_server("calc", tools=MappingProxyType({**approved, "höher": held}))
        listed = (await post_modern(client, path, request("tools/list"))).json()["result"]["tools"]
        assert [tool["name"] for tool in listed] == [placed(path, name) for name in NAMES[1:]]
        answer = await use(client, path, "höher")
        assert answer.json()["error"]["message"] == f"Unknown tool: {placed(path, 'höher')}"
        assert not seen.of("tools/call")
        world.store.change_server("calc", tools=MappingProxyType(approved))
        assert (await use(client, path, "höher")).status_code == 200
