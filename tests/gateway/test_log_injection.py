"""Text from clients and servers cannot inject lines into logs."""

import logging
from typing import Any

import pytest

from tests.gateway.messages import LEGACY, MODERN, call, initialize, modern, post, post_modern, request
from tests.gateway.upstreams import scripted, send_json
from tests.gateway.world import CREDENTIAL, running

LINE = "2026-01-01 CRITICAL forged"
SAID = f"x\r\n{LINE}\x1b[31m\u2028=cmd()<script>"
TOOLS = [
    {"name": "add", "inputSchema": {"type": "object"}},
    {"name": SAID, "inputSchema": {"type": "object"}},
]


async def test_no_log_repeats_what_a_client_or_a_server_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bodies: dict[str, Any] = {
        "add": {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": SAID}},
        SAID: {"jsonrpc": "2.0", "id": SAID, "result": SAID},
    }

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        body = bodies.get(message.get("params", {}).get("name"), {"jsonrpc": SAID, "method": SAID})
        await send_json(send, 200, body)

    async with running() as world, scripted(script) as (url, _):
        world.store.register("calc", url, (MODERN, LEGACY), TOOLS)
        token = world.store.issue(world.store.grant())
        async with world.client(token) as client:
            began = initialize()
            began["params"]["clientInfo"] = {"name": SAID, "version": SAID}
            for message in (
                began,
                call("add", {"a": SAID}),
                call(SAID),
                request(SAID),
                request("tools/list"),
            ):
                for path in ("/mcp", "/mcp/calc", "/mcp/%0d%0a2026-01-01%20CRITICAL%20forged"):
                    await post(client, path, message)
                    if message["method"] != SAID and message.get("params", {}).get("name") != SAID:
                        await post_modern(client, path, message)
            body, headers = modern(call("add"))
            headers |= {"x-request-id": "%0d%0a" + LINE, "user-agent": LINE, "traceparent": LINE}
            await client.post("/mcp/calc", json=body, headers=headers)
            await client.post(
                "/mcp/calc", content=SAID.encode(), headers={"content-type": "application/json"}
            )
    own = [record for record in caplog.records if record.name.startswith(("app", "uvicorn"))]
    for record in own:
        written = record.getMessage()
        assert LINE not in written
        assert CREDENTIAL.decode() not in written
        assert token not in written
