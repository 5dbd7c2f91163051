"""No upstream answer causes an internal error or reveals the upstream credential."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.access import FLEET_ID
from tests.gateway.fuzzing import ID, SECRET, Exchange, exchanges
from tests.gateway.messages import LEGACY, MODERN, initialize, modern
from tests.gateway.upstreams import scripted, send_events, send_json
from tests.gateway.world import CREDENTIAL, World, running

TOOLS = [{"name": "add", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}]


class Hostile:
    """A gateway and a server with generated answers, in a separate event loop."""

    def __init__(self, runner: asyncio.Runner, world: World, client: httpx2.AsyncClient) -> None:
        self._runner, self.world, self._client = runner, world, client
        self.exchange: Exchange
        self.session = ""

    async def script(self, message: dict[str, Any], receive: Any, send: Any) -> None:
        """What was drawn to what was asked; what the gateway asks by itself is answered well."""
        id = message.get("id")
        if "method" not in message or id is None:
            await send_json(send, 202, b"")
        elif message["method"] == "initialize" and self.exchange.asked["method"] != "initialize":
            info = {"name": "x", "version": "1"}
            result = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": info}
            await send_json(send, 200, {"jsonrpc": "2.0", "id": id, "result": result})
        else:
            body = self.exchange.answer.replace(f'"{ID}"'.encode(), str(id).encode())
            await (send_events(send, body) if self.exchange.streamed else send_json(send, 200, body))

    def ask(self, exchange: Exchange, path: str, *, new: bool) -> httpx2.Response:
        """The answer to what was drawn, in the era that is said."""
        self.exchange = exchange
        message = exchange.asked_of_fleet if path == "/mcp" else exchange.asked
        headers: dict[str, str] = {}
        if new:
            message, headers = modern(message)
        elif path == "/mcp":
            headers = {"mcp-session-id": self.session}
        return self._runner.run(self._client.post(path, json=message, headers=headers))


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    # A loop of its own, never set as the thread's current one: pytest-asyncio keeps its own there.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        stack = AsyncExitStack()

        async def start() -> Hostile:
            world = await stack.enter_async_context(running())
            token = world.store.issue(world.store.grant(resources=True, prompts=True))
            hostile = Hostile(runner, world, await stack.enter_async_context(world.client(token)))
            url, _ = await stack.enter_async_context(scripted(hostile.script))
            world.store.register("calc", url, (MODERN, LEGACY), TOOLS)
            world.store.versions[FLEET_ID] = 2
            return hostile

        hostile = runner.run(start())
        began = runner.run(hostile._client.post("/mcp", json=initialize()))
        hostile.session = began.headers["mcp-session-id"]
        yield hostile
        runner.run(stack.aclose())


@pytest.mark.parametrize("path", ["/mcp/calc", "/mcp"])
@settings(max_examples=200)
@given(exchange=exchanges(), new=st.booleans())
def test_no_answer_is_a_fault_of_ours_or_shows_our_credential(
    hostile: Hostile, path: str, exchange: Exchange, new: bool
) -> None:
    assert CREDENTIAL.decode() == SECRET
    answer = hostile.ask(exchange, path, new=new)
    assert answer.status_code == 200 or 400 <= answer.status_code < 500 or answer.status_code == 502, (
        answer.text
    )
    assert SECRET not in answer.text
    assert SECRET not in str(answer.headers)
