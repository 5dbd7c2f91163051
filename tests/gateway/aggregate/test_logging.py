"""``/mcp``: log messages are filtered by the client's level, within and across eras."""

from typing import Any

import httpx2
import pytest

from app.admission.store import SessionSettings
from tests.gateway.messages import LEGACY, MODERN, call, initialize, modern, post, post_modern, request
from tests.gateway.upstreams import event, scripted, send_events, send_json
from tests.gateway.world import running

TOOLS = [{"name": "add", "inputSchema": {"type": "object"}}]
LEVEL_KEY = "io.modelcontextprotocol/logLevel"


async def talkative(message: dict[str, Any], receive: Any, send: Any) -> None:
    """A server that sends a log message at each of three levels for every request."""
    method = message["method"]
    if "id" not in message:
        await send_json(send, 202, b"")
        return
    result: dict[str, Any] = {"content": []}
    if method == "initialize":
        info = {"name": "x", "version": "1"}
        result = {"protocolVersion": LEGACY, "capabilities": {"logging": {}}, "serverInfo": info}
    answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
    if method != "tools/call":
        await send_json(send, 200, answer)
        return
    said = [
        event(
            {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": level, "data": level}}
        )
        for level in ("debug", "warning", "alert", "loud")
    ]
    await send_events(send, *said, event(answer))


def heard(answer: httpx2.Response) -> list[str]:
    return [level for level in ("debug", "warning", "alert", "loud") if f'"{level}"' in answer.text]


@pytest.mark.parametrize("version", [LEGACY, MODERN])
async def test_a_legacy_session_gets_log_messages_from_its_level_on(version: str) -> None:
    async with running() as world, scripted(talkative) as (url, seen):
        world.store.register("calc", url, (version,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            session = (await post(client, "/mcp", initialize())).headers["mcp-session-id"]

            async def ask(message: dict[str, Any]) -> httpx2.Response:
                return await post(client, "/mcp", message, mcp_session_id=session)

            assert heard(await ask(call("calc__add"))) == ["debug", "warning", "alert", "loud"]
            assert (await ask(request("logging/setLevel", {"level": "warning"}))).json()["result"] == {}
            for _ in range(2):
                assert heard(await ask(call("calc__add"))) == ["warning", "alert"]
            # Another worker changed the level.
            (session_id,) = world.store.notes
            world.store.notes[session_id] = SessionSettings("alert")
            world.gateway.forget_session_settings(None)
            assert heard(await ask(call("calc__add"))) == ["alert"]
            for level in ("loud", 1, None):
                refused = (await ask(request("logging/setLevel", {"level": level}))).json()
                assert refused["error"]["code"] == -32602
        if version == LEGACY:
            assert [body["params"]["level"] for _, body in seen.of("logging/setLevel")] == [
                "warning",
                "alert",
            ]
        else:
            levels = [body["params"]["_meta"].get(LEVEL_KEY) for _, body in seen.of("tools/call")]
            assert levels == [None, "warning", "warning", "alert"]
        assert world.store.admitted("mcp.set_level")


@pytest.mark.parametrize("version", [LEGACY, MODERN])
async def test_a_modern_request_gets_log_messages_only_from_its_level_on(version: str) -> None:
    async with running() as world, scripted(talkative) as (url, seen):
        world.store.register("calc", url, (version,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            for level, expected in (("warning", ["warning", "alert"]), (None, []), ("loud", [])):
                message = call("calc__add")
                body, headers = modern_with(message, level)
                assert heard(await client.post("/mcp", json=body, headers=headers)) == expected
            assert (
                await post_modern(client, "/mcp", request("logging/setLevel", {"level": "info"}))
            ).status_code == 404
        if version == MODERN:
            levels = [body["params"]["_meta"].get(LEVEL_KEY) for _, body in seen.of("tools/call")]
            assert levels == ["warning", None, None]


def modern_with(message: dict[str, Any], level: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    body, headers = modern(message)
    if level is not None:
        body["params"]["_meta"][LEVEL_KEY] = level
    return body, headers
