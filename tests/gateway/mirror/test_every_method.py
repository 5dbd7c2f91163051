"""Each method of each version is supported or refused on both endpoints; none is forwarded by accident."""

from typing import Any

import pytest
from mcp_types import methods as spec
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from app.gateway.wire.messages import TASKS_EXTENSION
from tests.gateway.messages import LEGACY, MODERN, initialize, modern, post, request
from tests.gateway.upstreams import Seen, scripted, send_json
from tests.gateway.world import running

VERSIONS = (*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS)
TOOLS = [{"name": "add", "inputSchema": {"type": "object"}}]
TASKS = {"tasks/get", "tasks/cancel", "tasks/result", "tasks/update", "tasks/list"}
INVENTED = {
    "x",
    "",
    "tools/Call",
    "tools/calls",
    "rpc.discover",
    "notifications/cancelled",
    "sampling/createMessage",
}
REQUESTS = (
    {method for maps in (spec.CLIENT_REQUESTS, spec.SERVER_REQUESTS) for method, _ in maps} | TASKS | INVENTED
)
NOTIFICATIONS = {
    method for maps in (spec.CLIENT_NOTIFICATIONS, spec.SERVER_NOTIFICATIONS) for method, _ in maps
} | {
    "notifications/tasks/status",
    "notifications/tasks",
    "notifications/x",
    "tools/call",
}
PARAMS: dict[str, dict[str, Any]] = {
    "initialize": initialize()["params"],
    "tools/call": {"name": "add"},
    "prompts/get": {"name": "p"},
    "resources/read": {"uri": "r://1"},
    "resources/subscribe": {"uri": "r://1"},
    "resources/unsubscribe": {"uri": "r://1"},
    "completion/complete": {
        "ref": {"type": "ref/prompt", "name": "p"},
        "argument": {"name": "a", "value": ""},
    },
    "logging/setLevel": {"level": "info"},
    "subscriptions/listen": {"notifications": {}},
    **{method: {"taskId": "t", "inputResponses": {}} for method in TASKS},
}


ON_THE_AGGREGATE: dict[str, dict[str, Any]] = {
    **PARAMS,
    "tools/call": {"name": "calc__add"},
    "prompts/get": {"name": "calc__p"},
    "resources/read": {"uri": "mcp+calc+r://1"},
    "resources/subscribe": {"uri": "mcp+calc+r://1"},
    "resources/unsubscribe": {"uri": "mcp+calc+r://1"},
    "completion/complete": {
        "ref": {"type": "ref/prompt", "name": "calc__p"},
        "argument": {"name": "a", "value": ""},
    },
}
OF_BOTH = {method for method, each in spec.CLIENT_REQUESTS if each == LEGACY} & {
    method for method, each in spec.CLIENT_REQUESTS if each == MODERN
}


async def answering(message: dict[str, Any], receive: Any, send: Any) -> None:
    if "id" not in message:
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    result: dict[str, Any] = {
        "resultType": "complete",
        "capabilities": {"tools": {}, "prompts": {}, "resources": {}},
    }
    if message["method"] == "initialize":
        result |= {
            "protocolVersion": message["params"]["protocolVersion"],
            "serverInfo": {"name": "x", "version": "1"},
        }
    await send_json(
        send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result}, {"mcp-session-id": "s"}
    )


def sent(
    version: str, method: str, params: dict[str, dict[str, Any]] = PARAMS
) -> tuple[dict[str, Any], dict[str, str]]:
    """A request, as a client of this version sends it."""
    message = request(method, dict(params.get(method, {})))
    if version in MODERN_PROTOCOL_VERSIONS:
        body, headers = modern(message)
        meta = body["params"]["_meta"]
        meta["io.modelcontextprotocol/clientCapabilities"] = {"extensions": {TASKS_EXTENSION: {}}}
        if method in TASKS:
            headers["mcp-name"] = "t"
        return body, headers
    if method == "initialize":
        message["params"]["protocolVersion"] = version
    return message, {"mcp-protocol-version": version}


def received(seen: Seen) -> set[str]:
    return {body["method"] for _, _, body in seen.requests if isinstance(body, dict) and "method" in body}


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_mirror_forwards_the_methods_of_the_version_and_no_other(version: str) -> None:
    specified = {method for method, each in spec.CLIENT_REQUESTS if each == version}
    is_modern = version in MODERN_PROTOCOL_VERSIONS
    known_tasks = {"tasks/get", "tasks/cancel", "tasks/update" if is_modern else "tasks/result"}
    async with running() as world, scripted(answering) as (url, seen):
        world.store.register("calc", url, (version,), TOOLS)
        token = world.store.issue(world.store.grant(resources=True, prompts=True))
        async with world.client(token) as client:
            for method in sorted(REQUESTS):
                seen.requests.clear()
                body, headers = sent(version, method)
                got = (await client.post("/mcp/calc", json=body, headers=headers)).json()
                if method in specified:
                    assert "result" in got, method
                    assert received(seen) == ({method} - {"ping"}), "the gateway answers a ping"
                else:
                    # An unknown task id is refused without a request to the server.
                    assert got["error"]["code"] == (-32602 if method in known_tasks else -32601), method
                    assert not seen.requests, method


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_mirror_forwards_the_notifications_of_the_version_and_no_other(version: str) -> None:
    specified = {method for method, each in spec.CLIENT_NOTIFICATIONS if each == version}
    async with running() as world, scripted(answering) as (url, seen):
        world.store.register("calc", url, (version,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            headers = {"mcp-protocol-version": version}
            if version in HANDSHAKE_PROTOCOL_VERSIONS:
                started = await post(client, "/mcp/calc", initialize(version))
                headers["mcp-session-id"] = started.headers["mcp-session-id"]
            else:
                # Over HTTP a modern client has none that a server would need.
                specified = set()
            seen.requests.clear()
            for method in sorted(NOTIFICATIONS):
                body = {"jsonrpc": "2.0", "method": method, "params": {"requestId": 1, "progressToken": 1}}
                got = await client.post("/mcp/calc", json=body, headers=headers)
                assert got.status_code == 202, method
            assert received(seen) == specified


@pytest.mark.parametrize("upstream", [LEGACY, MODERN])
@pytest.mark.parametrize("version", [LEGACY, MODERN])
async def test_the_aggregate_sends_no_server_a_method_that_is_not_of_its_version(
    version: str, upstream: str
) -> None:
    specified = {method for method, each in spec.CLIENT_REQUESTS if each == version}
    allowed = {
        method for method, each in (*spec.CLIENT_REQUESTS, *spec.CLIENT_NOTIFICATIONS) if each == upstream
    }
    async with running() as world, scripted(answering) as (url, seen):
        world.store.register("calc", url, (upstream,), TOOLS)
        token = world.store.issue(world.store.grant(resources=True, prompts=True))
        async with world.client(token) as client:
            session = (await post(client, "/mcp", initialize())).headers["mcp-session-id"]
            for method in sorted(REQUESTS - {"initialize", "subscriptions/listen"}):
                body, headers = sent(version, method, ON_THE_AGGREGATE)
                if version == LEGACY:
                    headers["mcp-session-id"] = session
                got = (await client.post("/mcp", json=body, headers=headers)).json()
                if method in specified:
                    assert "result" in got, method
                else:
                    assert got["error"]["code"] == -32601, method
            assert received(seen) >= OF_BOTH
            assert received(seen) <= allowed
            assert not received(seen) & (TASKS | INVENTED - {"notifications/cancelled"})
