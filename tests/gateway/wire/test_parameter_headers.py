"""A call is forwarded only if each parameter header equals its argument."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from tests.gateway.messages import LEGACY, MODERN, call, initialize, modern
from tests.gateway.upstreams import Seen, scripted, send_json
from tests.gateway.world import running

REGION = {"type": "string", "x-mcp-header": "Region"}
TOOLS = [
    {"name": "query", "inputSchema": {"type": "object", "properties": {"region": REGION, "sql": {}}}},
    {"name": "plain", "inputSchema": {"type": "object"}},
]


async def answer(message: dict[str, Any], _receive: Any, send: Any) -> None:
    result = {"resultType": "complete", "content": []}
    await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})


@asynccontextmanager
async def behind(versions: tuple[str, ...]) -> AsyncIterator[tuple[httpx2.AsyncClient, Seen]]:
    async with running() as world, scripted(answer) as (url, seen):
        world.store.register("db", url, versions, TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            yield client, seen


@pytest.mark.parametrize(("path", "prefix"), [("/mcp/db", ""), ("/mcp", "db__")])
@pytest.mark.parametrize(
    ("arguments", "sent", "status"),
    [
        ({"region": "eu", "sql": "x"}, {"mcp-param-region": "eu"}, 200),
        ({"region": "eu"}, {"mcp-param-region": "us"}, 400),
        ({"region": "eu"}, {}, 400),
        ({"sql": "x"}, {"mcp-param-region": "us"}, 400),
        ({"region": None}, {"mcp-param-region": "us"}, 400),
        (None, {"mcp-param-region": "us"}, 400),
        ({"sql": "x"}, {"mcp-param-other": "1"}, 200),
    ],
)
async def test_a_header_that_differs_from_its_argument_goes_nowhere(
    path: str, prefix: str, arguments: dict[str, Any] | None, sent: dict[str, str], status: int
) -> None:
    async with behind((MODERN,)) as (client, seen):
        body, headers = modern(call(f"{prefix}query", arguments))
        got = await client.post(path, json=body, headers={**headers, **sent})
        assert got.status_code == status, got.text
        if status == 400:
            assert got.json()["error"]["code"] == -32020
            assert not seen.of("tools/call")
        else:
            [(upstream_headers, _)] = seen.of("tools/call")
            declared = {name: value for name, value in sent.items() if name == "mcp-param-region"}
            received = {
                name.decode(): value for name, value in upstream_headers.items() if b"mcp-param" in name
            }
            assert received == {name: value.encode() for name, value in declared.items()}


async def test_a_legacy_call_gets_generated_parameter_headers() -> None:
    async with behind((MODERN,)) as (client, seen):
        opened = await client.post("/mcp", json=initialize())
        headers = {"mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": LEGACY}
        forged = {**headers, "mcp-param-region": "us"}
        for name in ("db__query", "db__plain"):
            got = await client.post("/mcp", json=call(name, {"region": "eu"}), headers=forged)
            assert got.status_code == 200, got.text
        made, plain = (received.get(b"mcp-param-region") for received, _ in seen.of("tools/call"))
        assert (made, plain) == (b"eu", None)
