"""Every malformed request gets a 4xx status, and nothing of it is forwarded."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.gateway.messages import LEGACY, MODERN, call, initialize, modern, post, post_modern, request
from tests.gateway.upstreams import Seen, scripted, send_json
from tests.gateway.world import World, running

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("add", "höher")]


class Bench:
    """A gateway before an upstream that echoes, with a client whose token may use everything."""

    def __init__(self, world: World, seen: Seen, client: httpx2.AsyncClient) -> None:
        self.world, self.seen, self.client = world, seen, client


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async def echo(message: dict[str, Any], receive: Any, send: Any) -> None:
        result: dict[str, Any] = {"content": [], "echo": message.get("params"), "resultType": "complete"}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message.get("id"), "result": result})

    async with running() as world, scripted(echo) as (url, seen):
        world.store.register("calc", url, (MODERN, LEGACY), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            yield Bench(world, seen, client)


def check_error(answer: httpx2.Response, status: int, code: int, id: Any = None) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["jsonrpc"] == "2.0"
    assert body["id"] == id
    assert body["error"]["code"] == code
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    error: dict[str, Any] = body["error"]
    return error


PARSE = [
    (b"{", -32700),
    (b"\xef\xbb\xbf{}", -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}', -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1e400}}', -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\\ud800"}}', -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\\u0000"}}', -32700),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, -32700),
    (b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}', -32700),
    (b"\xff\xfe", -32700),
    (b"", -32700),
    (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
    (b"[]", -32600),
    (b'"ping"', -32600),
    (b"null", -32600),
    (b'{"jsonrpc":"2.0","id":1,"Method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":1.0,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
    (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
    (b'{"id":1,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":1}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":1}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":null}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"result":{}}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}', -32600),
]


@pytest.mark.parametrize(("body", "code"), PARSE)
@pytest.mark.parametrize("path", ["/mcp/calc", "/mcp/absent"])
async def test_what_has_not_one_meaning_is_refused(bench: Bench, body: bytes, code: int, path: str) -> None:
    answer = await bench.client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == code
    assert not bench.seen.requests


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({}, 415),
        ({"content-type": "application/json; charset=utf-16"}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ({"content-type": "application/json", "origin": "https://evil.example"}, 403),
        ({"content-type": "application/json", "origin": "null"}, 403),
        ({"content-type": "application/json", "host": "evil.example"}, 400),
        ({"content-type": "application/json", "mcp-protocol-version": "1999-01-01"}, 400),
    ],
)
async def test_wrong_headers_are_refused(bench: Bench, headers: dict[str, str], status: int) -> None:
    answer = await bench.client.post("/mcp/calc", content=json.dumps(call("add")).encode(), headers=headers)
    assert answer.status_code == status
    assert "error" in answer.json()
    assert not bench.seen.requests


async def test_own_origin_and_utf8_charset_are_accepted(bench: Bench) -> None:
    headers = {"content-type": 'Application/JSON; charset="UTF-8"', "origin": "http://127.0.0.1:8080"}
    answer = await bench.client.post("/mcp/calc", content=json.dumps(call("add")).encode(), headers=headers)
    assert answer.status_code == 200


async def test_a_body_over_the_limit_is_refused_with_and_without_a_length(bench: Bench) -> None:
    big = json.dumps(call("add", {"a": "x" * (1024 * 1024)})).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(big), 65536):
            yield big[start : start + 65536]

    for content in (big, pieces()):
        answer = await bench.client.post(
            "/mcp/calc", content=content, headers={"content-type": "application/json"}
        )
        check_error(answer, 413, -32600)
    assert not bench.seen.requests


async def test_other_http_methods_get_the_allowed_ones(bench: Bench) -> None:
    for path in ("/mcp/calc", "/mcp"):
        for method in ("PUT", "PATCH", "OPTIONS"):
            answer = await bench.client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST, GET, DELETE")
        for method in ("GET", "DELETE"):
            answer = await bench.client.request(method, path, headers={"mcp-protocol-version": MODERN})
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


LADDER: list[tuple[dict[str, str], dict[str, Any], int]] = [
    ({"mcp-method": ""}, {}, -32020),
    ({"mcp-method": "tools/list"}, {}, -32020),
    ({"mcp-name": "subtract"}, {}, -32020),
    ({"mcp-name": "=?base64?!!?="}, {}, -32020),
    ({}, {"io.modelcontextprotocol/protocolVersion": None}, -32020),
    ({}, {"io.modelcontextprotocol/protocolVersion": "2025-11-25"}, -32020),
    ({}, {"io.modelcontextprotocol/clientCapabilities": 1}, -32602),
]


@pytest.mark.parametrize(("headers", "meta", "code"), LADDER)
async def test_a_modern_header_that_differs_from_the_body_is_refused(
    bench: Bench, headers: dict[str, str], meta: dict[str, Any], code: int
) -> None:
    body, sent = modern(call("add"))
    body["params"]["_meta"].update(meta)
    answer = await bench.client.post("/mcp/calc", json=body, headers={**sent, **headers})
    check_error(answer, 400, code, 1)
    assert not bench.seen.requests


@pytest.mark.parametrize("name", ["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-x"])
async def test_a_doubled_routing_header_is_refused(bench: Bench, name: str) -> None:
    body, sent = modern(call("add"))
    sent.setdefault("mcp-param-x", "1")
    headers = [*sent.items(), (name, sent[name])]
    check_error(await bench.client.post("/mcp/calc", json=body, headers=headers), 400, -32020, 1)
    assert not bench.seen.requests


async def test_a_modern_request_without_its_envelope_is_refused(bench: Bench) -> None:
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "tools/list"}
    check_error(
        await bench.client.post("/mcp/calc", json=request("tools/list"), headers=headers), 400, -32602, 1
    )


async def test_a_name_is_encoded_if_a_header_cannot_contain_it(bench: Bench) -> None:
    body, sent = modern(call("höher"))
    sent["mcp-name"] = "=?base64?aMO2aGVy?="
    answer = await bench.client.post("/mcp/calc", json=body, headers=sent)
    assert answer.status_code == 200
    assert bench.seen.requests[0][1][b"mcp-name"] == b"=?base64?aMO2aGVy?="


UNCARRIED = [
    "resources/list",
    "prompts/get",
    "tasks/list",
    "sampling/createMessage",
    "x",
    "",
]


@pytest.mark.parametrize("method", UNCARRIED)
async def test_an_unknown_method_is_refused_and_never_forwarded(bench: Bench, method: str) -> None:
    check_error(await post(bench.client, "/mcp/calc", request(method, {}, "a")), 200, -32601, "a")
    check_error(await post_modern(bench.client, "/mcp/calc", request(method, {}, "a")), 404, -32601, "a")
    assert not bench.seen.requests


async def test_each_era_has_its_own_methods(bench: Bench) -> None:
    check_error(await post(bench.client, "/mcp/calc", request("server/discover")), 200, -32601, 1)
    check_error(await post_modern(bench.client, "/mcp/calc", initialize()), 404, -32601, 1)
    check_error(await post_modern(bench.client, "/mcp/calc", request("ping")), 404, -32601, 1)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"name": 1},
        {"name": None},
        {"name": "add", "arguments": None},
        {"name": "add", "arguments": []},
        {"name": "add", "arguments": "a"},
        {"name": "add", "task": True},
    ],
)
async def test_malformed_call_parameters_are_refused(bench: Bench, params: dict[str, Any]) -> None:
    check_error(await post(bench.client, "/mcp/calc", request("tools/call", params)), 200, -32602, 1)
    assert not bench.seen.requests


async def test_notifications_are_accepted_and_ignored(bench: Bench) -> None:
    for method in (
        "notifications/progress",
        "notifications/roots/list_changed",
        "x",
        "notifications/cancelled",
    ):
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": {}}
        answer = await post(bench.client, "/mcp/calc", message)
        assert (answer.status_code, answer.content) == (202, b"")
    body, headers = modern({"jsonrpc": "2.0", "method": "notifications/cancelled"})
    assert (await bench.client.post("/mcp/calc", json=body, headers=headers)).status_code == 202
    assert not bench.seen.requests


async def test_a_ping_is_answered(bench: Bench) -> None:
    answer = await post(bench.client, "/mcp/calc", request("ping", id="p"))
    assert answer.json() == {"jsonrpc": "2.0", "id": "p", "result": {}}


async def test_what_is_forwarded_is_what_was_decided_on(bench: Bench) -> None:
    arguments = {"a": 2**70, "b": [1.5, "ü", {"c": None}]}
    await post(bench.client, "/mcp/calc", call("add", arguments), cookie="a=b", x_secret="s")
    (_, headers, body) = bench.seen.requests[0]
    assert body == call("add", arguments)
    assert bench.world.store.admitted("tool.call")[0].arguments == arguments
    assert set(headers) <= {b"host", b"content-type", b"content-length", b"accept", b"authorization", b"connection",
                            b"accept-encoding", b"user-agent", b"scopegate-via"}  # fmt: skip


async def test_only_supported_client_capabilities_are_sent_upstream(bench: Bench) -> None:
    body, headers = modern(call("add"))
    able: dict[str, Any] = {
        "elicitation": {"url": {}},
        "roots": {},
        "tasks": {"list": {}},
        "extensions": {"x": {}},
    }
    body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = able
    await bench.client.post("/mcp/calc", json=body, headers=headers)
    began = initialize()
    began["params"]["capabilities"] = {"sampling": {}, "roots": 1, **able}
    await post(bench.client, "/mcp/calc", began)
    bodies = [body for _, _, body in bench.seen.requests]
    assert bodies[0]["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] == {
        "elicitation": {"url": {}},
        "roots": {},
    }
    assert bodies[1]["params"]["capabilities"] == {"sampling": {}, "elicitation": {"url": {}}, "roots": {}}


async def test_a_body_that_never_ends_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.wire.exchange.BODY_SECONDS", 0.1)
    host, port = bench.world.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    token = bench.client.headers["authorization"]
    writer.write(
        f"POST /mcp/calc HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{".encode()
    )
    async with asyncio.timeout(50):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
    writer.close()
    await writer.wait_closed()
