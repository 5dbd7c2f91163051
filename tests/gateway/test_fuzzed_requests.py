"""No request causes an internal error, and what is forwarded is what was decided on."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings

from app.lib import strict_json
from tests.gateway.fuzzing import Post, posts
from tests.gateway.messages import LEGACY, MODERN, initialize
from tests.gateway.upstreams import Seen, scripted, send_json
from tests.gateway.world import World, running

TOOLS = [{"name": "add", "inputSchema": {"type": "object"}}]


async def answers(message: dict[str, Any], receive: Any, send: Any) -> None:
    """A server that is content with everything."""
    if "id" not in message or "method" not in message:
        await send_json(send, 202, b"")
        return
    result: dict[str, Any] = {"content": [], "resultType": "complete"}
    if message["method"] == "initialize":
        info = {"name": "x", "version": "1"}
        result = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": info}
    elif message["method"] == "tools/list":
        result["tools"] = TOOLS
    await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})


OWN = {"initialize", "notifications/initialized", "notifications/cancelled"}
"""What the gateway sends of its own accord, as the client of a server that it is on ``/mcp``."""


class Range:
    """A gateway before such a server, in a loop of its own that runs while a request is under way."""

    def __init__(self, runner: asyncio.Runner, world: World, seen: Seen, client: httpx2.AsyncClient) -> None:
        self._runner, self.world, self.seen, self._client = runner, world, seen, client
        self.session = b""

    def post(self, path: str, sent: Post) -> httpx2.Response:
        """Send it; the answer."""
        self.seen.requests.clear()
        self.world.store.calls.clear()
        headers = [(name.encode(), value.encode("utf-8")) for name, value in sent.headers]
        if path == "/mcp" and "mcp-session-id" not in dict(sent.headers):
            headers.append((b"mcp-session-id", self.session))
        return self._runner.run(self._client.post(path, content=sent.body, headers=headers))


@pytest.fixture(scope="module")
def shooting_range() -> Iterator[Range]:
    # A loop of its own, never set as the thread's current one: pytest-asyncio keeps its own there.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        stack = AsyncExitStack()

        async def start() -> Range:
            world = await stack.enter_async_context(running())
            url, seen = await stack.enter_async_context(scripted(answers))
            server = world.store.register("calc", url, (MODERN, LEGACY), TOOLS)
            token = world.store.issue(world.store.grant(server, "add", prompts=True))
            return Range(runner, world, seen, await stack.enter_async_context(world.client(token)))

        made = runner.run(start())
        began = made.post(
            "/mcp", Post((("content-type", "application/json"),), json.dumps(initialize()).encode())
        )
        made.session = began.headers["mcp-session-id"].encode()
        yield made
        runner.run(stack.aclose())


def last_wins(body: bytes) -> Any:
    """As most parsers read it."""
    return json.loads(body)


def first_wins(body: bytes) -> Any:
    """As some parsers read it."""
    return json.loads(body, object_pairs_hook=lambda pairs: dict(reversed(pairs)))


def caseless(value: Any) -> Any:
    """Parse like a case-insensitive parser that keeps the last duplicate."""
    if not isinstance(value, dict):
        return value
    return {key.casefold(): value[key] for key in value}


@pytest.mark.parametrize("path", ["/mcp/calc", "/mcp"])
@settings(max_examples=200)
@given(sent=posts())
def test_no_request_is_a_fault_and_what_is_forwarded_is_what_was_decided_on(
    shooting_range: Range, path: str, sent: Post
) -> None:
    answer = shooting_range.post(path, sent)
    assert answer.status_code < 500, answer.text
    refused = answer.status_code >= 400
    if answer.content:
        body = answer.json()
        assert body["jsonrpc"] == "2.0"
        refused = refused or "error" in body
    forwarded = [message for _, _, message in shooting_range.seen.requests]
    if refused:
        assert not forwarded
    for message in forwarded:
        check_forwarded(shooting_range.world, path, sent, message)


def check_forwarded(world: World, path: str, sent: Post, message: dict[str, Any]) -> None:
    """Check one message that reached the server: allowed, recorded, and with one meaning for all parsers."""
    method = message.get("method")
    allowed = {call.method: call for call in world.store.calls if call.decision.allowed}
    if path == "/mcp" and method in OWN:
        return
    assert method in allowed
    for read in (last_wins, first_wins):
        assert read(sent.body)["method"] == method
        if method == "tools/call":
            call, asked = allowed[method], read(sent.body)["params"]
            assert asked["name"] == (call.tool if path != "/mcp" else f"calc__{call.tool}")
            assert message["params"]["name"] == call.tool
            assert same(asked.get("arguments"), call.arguments)
            assert same(message["params"].get("arguments"), call.arguments)
            assert caseless(message["params"])["name"] == call.tool
            assert same(caseless(message["params"]).get("arguments"), call.arguments)
    assert caseless(message)["method"] == method
    if method == "completion/complete":
        assert caseless(caseless(message["params"])["ref"])["type"] == "ref/prompt"


def same(left: Any, right: Any) -> bool:
    """Equal to the last digit: 1, 1.0 and true are not the same."""
    return strict_json.canonical(left) == strict_json.canonical(right)
