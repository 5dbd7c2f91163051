"""A call that a server has received is never sent again, however the connection ends.

The server may have executed it, so only the caller can decide whether to repeat it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.gateway.messages import LEGACY, MODERN, call, post, post_modern
from tests.gateway.world import running

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("add", "pay")]
RESULT: dict[str, Any] = {"content": [], "resultType": "complete"}


class Server:
    """Answers ``add`` and keeps the connection; ends it once it has the whole of ``pay``."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.received: list[tuple[int, str]] = []
        """On which connection, and what."""
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        number = self.connections
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            message = json.loads(await reader.readexactly(length))
            self.received.append((number, message["params"]["name"]))
            if message["params"]["name"] == "pay":
                break
            body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": RESULT}).encode()
            start = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            writer.write(start % len(body) + body)
        if self.how == "reset":
            writer.transport.abort()
        writer.close()


@asynccontextmanager
async def ending(how: str) -> AsyncIterator[tuple[str, Server]]:
    """Its URL, and what it received."""
    server = Server(how)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/mcp", server


@pytest.mark.parametrize("version", [LEGACY, MODERN])
@pytest.mark.parametrize("how", ["closed", "reset"])
@pytest.mark.parametrize("kept", [False, True], ids=["new connection", "kept connection"])
async def test_a_call_that_was_received_is_sent_once_and_its_caller_gets_an_error(
    kept: bool, how: str, version: str
) -> None:
    send = post if version == LEGACY else post_modern
    async with asyncio.timeout(50), ending(how) as (url, server), running() as world:
        world.store.register("calc", url, (version,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            if kept:
                assert (await send(client, "/mcp/calc", call("add"))).status_code == 200
            got = await send(client, "/mcp/calc", call("pay", id="p"))
        assert got.status_code == 502
        assert (got.json()["id"], got.json()["error"]["code"]) == ("p", -32603)
        assert server.received == [*([(1, "add")] if kept else []), (1, "pay")]
        assert server.connections == 1
        assert world.store.outcomes[world.store.calls[-1].id] == "error"
