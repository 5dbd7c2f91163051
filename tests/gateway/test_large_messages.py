"""Large answers and floods of comments affect only their own call, not the calls of others."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.gateway.wire import answers
from app.lib import sse, strict_json
from app.lib.event_loop import LARGE_VALUES, is_large, is_on_loop, off_loop
from tests.gateway.messages import MODERN, call, post_modern, request
from tests.gateway.upstreams import event, scripted, send_events, send_json
from tests.gateway.world import World, running

LARGE = [{"a": number} for number in range(2 * LARGE_VALUES)]
TOOLS = [
    {"name": name, "inputSchema": {"type": "object"}}
    for name in ("small", "json", "events", "notes", "flood")
]
PROMPTS = [{"name": f"p{number}", "arguments": [{"name": "a"}]} for number in range(900)]


async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
    name = message["params"].get("name", message["method"])
    result: dict[str, Any] = {"resultType": "complete"}
    if name == "prompts/list":
        result["prompts"] = PROMPTS
    else:
        result |= {"content": [], "structuredContent": {"values": [] if name == "small" else LARGE}}
    answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
    if name == "notes":
        note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"_meta": {"values": LARGE}}}
        await send_events(send, event(note), event({**answer, "result": {**result, "structuredContent": {}}}))
    elif name == "events":
        await send_events(send, event(answer))
    elif name == "flood":
        await send_events(send, b":\n\n" * (sse.MAX_SILENT_BYTES // 2), event(answer))
    else:
        await send_json(send, 200, answer)


@asynccontextmanager
async def served() -> AsyncIterator[World]:
    async with asyncio.timeout(60), running() as world, scripted(script) as (url, _):
        world.store.register("calc", url, (MODERN,), TOOLS)
        yield world


@asynccontextmanager
async def worker_is_busy() -> AsyncIterator[None]:
    """While work off the loop waits for other such work."""
    free = threading.Event()
    busy = asyncio.create_task(off_loop(free.wait, 50))
    try:
        yield
    finally:
        free.set()
        await busy


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/mcp/calc", call("json")),
        ("/mcp/calc", call("events")),
        ("/mcp/calc", request("prompts/list")),
        ("/mcp", call("calc__json")),
        ("/mcp", call("calc__events")),
        ("/mcp", request("prompts/list")),
    ],
)
async def test_a_large_answer_is_processed_off_the_event_loop(path: str, message: dict[str, Any]) -> None:
    small = call("small" if path == "/mcp/calc" else "calc__small")
    async with served() as world:
        token = world.store.issue(world.store.grant(None, prompts=True))
        async with world.client(token) as client:
            async with worker_is_busy():
                large = asyncio.create_task(post_modern(client, path, message))
                for _ in range(20):
                    assert (await post_modern(client, path, small)).status_code == 200
                assert not large.done()
            answer = await large
    assert answer.status_code == 200, answer.text
    assert is_large(answer.content)
    body = answer.content.partition(b"data: ")[2] if b"data: " in answer.content[:60] else answer.content
    result: Any = strict_json.loads(body.strip())
    if message["method"] == "prompts/list":
        assert len(result["result"]["prompts"]) == len(PROMPTS)
    else:
        assert result["result"]["structuredContent"] == {"values": LARGE}


@pytest.mark.parametrize("tool", ["json", "events", "notes"])
@pytest.mark.parametrize(("path", "name"), [("/mcp/calc", "{}"), ("/mcp", "calc__{}")])
async def test_no_step_of_processing_a_large_message_blocks_the_event_loop(
    path: str, name: str, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: dict[str, set[bool]] = {}

    def watched(step: str, work: Any) -> Any:
        def watching(*arguments: Any, **options: Any) -> Any:
            if any(str(LARGE[-1]["a"]) in str(argument) for argument in arguments):
                steps.setdefault(step, set()).add(is_on_loop())
            return work(*arguments, **options)

        return watching

    for module, names in (
        (answers, "check_answer check_server_message remove_gateway_members"),
        (strict_json, "loads dumps"),
    ):
        for step in names.split():
            monkeypatch.setattr(module, step, watched(step, getattr(module, step)))
    async with served() as world, world.client(world.store.issue(world.store.grant())) as client:
        assert (await post_modern(client, path, call(name.format(tool)))).status_code == 200
    assert {
        "loads",
        "remove_gateway_members",
        "check_server_message" if tool == "notes" else "check_answer",
    } <= steps.keys()
    assert all(held == {False} for held in steps.values()), steps


@pytest.mark.parametrize(("path", "name"), [("/mcp/calc", "small"), ("/mcp", "calc__small")])
async def test_a_large_request_is_parsed_off_the_event_loop(path: str, name: str) -> None:
    async with served() as world, world.client(world.store.issue(world.store.grant())) as client:
        async with worker_is_busy():
            large = asyncio.create_task(post_modern(client, path, call(name, {"values": LARGE})))
            for _ in range(20):
                assert (await post_modern(client, path, call(name))).status_code == 200
            assert not large.done()
        assert (await large).status_code == 200


@pytest.mark.parametrize(("path", "name"), [("/mcp/calc", "flood"), ("/mcp", "calc__flood")])
async def test_a_flood_of_comments_ends_its_own_call_and_no_other(
    path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Enough for many turns of the loop; each of them lets the other calls go on.
    monkeypatch.setattr(sse, "MAX_SILENT_BYTES", sse.MAX_SILENT_BYTES // 8)
    async with served() as world, world.client(world.store.issue(world.store.grant())) as client:
        flooded = asyncio.create_task(post_modern(client, path, call(name)))
        answered = 0
        while not flooded.done():
            small = call("small" if path == "/mcp/calc" else "calc__small")
            assert (await post_modern(client, path, small)).status_code == 200
            answered += 1
        answer = await flooded
    assert answered > 1
    assert b"too large" in answer.content
    assert b'"result"' not in answer.content
