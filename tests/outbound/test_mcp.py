"""The MCP client with real servers of both protocol generations, and with servers that misbehave."""

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Literal

import pytest
import uvicorn
from mcp.server.mcpserver import Context, MCPServer

from app.outbound.http import AddressPolicy, NotForwarded, OutboundClient, Timeouts
from app.outbound.mcp.connection import LegacySession, ModernConnection
from app.outbound.mcp.exchange import McpUpstreamError, Notification, Result
from app.outbound.mcp.probe import list_tools, open_connection, probe
from tests.serving import listener, served

LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
BEARER = ((b"Authorization", b"Bearer upstream-credential"),)
App = Callable[..., Awaitable[None]]
Reply = tuple[int, dict[str, str], bytes]


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    async with OutboundClient(AddressPolicy((ipaddress.ip_network("127.0.0.0/8"),))) as made:
        yield made
    await asyncio.sleep(0)


@asynccontextmanager
async def serving(app: Any, lifespan: Literal["on", "off"] = "off") -> AsyncIterator[str]:
    config = uvicorn.Config(app, log_level="error", lifespan=lifespan, ws="none")
    with listener() as sock:
        async with served(config, sock):
            yield f"http://127.0.0.1:{sock.getsockname()[1]}/mcp"


def sdk_server() -> MCPServer:
    server = MCPServer("reference", version="1.2", instructions="Be brief.")

    @server.tool()
    async def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    async def report(ctx: Context) -> str:
        """Tell how it goes."""
        for step in range(3):
            await ctx.report_progress(step, 3)
        return "done"

    return server


def only(app: App, *, modern: bool) -> App:
    """The server restricted to one protocol generation."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            version = dict(scope["headers"]).get(b"mcp-protocol-version", b"")
            if (version == b"2026-07-28") != modern:
                error = {
                    "jsonrpc": "2.0",
                    "id": None,
                    "error": {"code": -32600, "message": "Unsupported version"},
                }
                await send(
                    {
                        "type": "http.response.start",
                        "status": 400,
                        "headers": [(b"content-type", b"application/json")],
                    }
                )
                await send({"type": "http.response.body", "body": json.dumps(error).encode()})
                return
        await app(scope, receive, send)

    return guarded


@asynccontextmanager
async def scripted(
    script: Callable[[dict[str, Any]], Reply], seen: list[tuple[str, dict[bytes, bytes], Any]] | None = None
) -> AsyncIterator[str]:
    """A server with scripted answers. ``seen`` collects method, headers and message."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
        message = json.loads(body) if body else {}
        if seen is not None:
            seen.append((scope["method"], dict(scope["headers"]), message))
        status, headers, answer = script(message)
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": answer})

    async with serving(app) as url:
        yield url


def as_json(value: Any, status: int = 200, session: str | None = None) -> Reply:
    headers = {} if session is None else {"Mcp-Session-Id": session}
    return status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode()


def as_events(*messages: Any) -> Reply:
    stream = b"".join(b"data: " + json.dumps(message).encode() + b"\n\n" for message in messages)
    return 200, {"Content-Type": "text/event-stream"}, stream


def result(message: dict[str, Any], value: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": message.get("id"), "result": value}


INITIALIZED = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "s", "version": "1"},
}


async def fails(awaitable: Awaitable[object]) -> McpUpstreamError:
    with pytest.raises(McpUpstreamError) as caught:
        await awaitable
    assert "upstream-credential" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("json_response", [True, False])
@pytest.mark.parametrize(
    ("era", "versions"), [("both", ("2026-07-28", *LEGACY)), ("modern", ("2026-07-28",)), ("legacy", LEGACY)]
)
async def test_probes_lists_and_calls_real_servers(
    client: OutboundClient, era: str, versions: tuple[str, ...], json_response: bool
) -> None:
    app: Any = sdk_server().streamable_http_app(json_response=json_response)
    if era != "both":
        app = only(app, modern=era == "modern")
    async with serving(app, "on") as url:
        info = await probe(client, url, BEARER)
        assert info.protocol_versions == versions
        assert info.server_info["name"] == "reference"
        assert info.instructions == "Be brief."
        assert "tools" in info.capabilities
        async with await open_connection(client, url, BEARER, info.protocol_versions) as connection:
            assert isinstance(connection, LegacySession if era == "legacy" else ModernConnection)
            assert [tool["name"] for tool in await list_tools(connection)] == ["add", "report"]
            answer = await connection.request(
                "tools/call", {"name": "add", "arguments": {"a": 2**60, "b": 3}}
            )
            assert answer["structuredContent"] == {"result": 2**60 + 3}
            error = await fails(connection.request("no/such"))
            assert (error.kind, error.code) == ("rpc", -32601)


@pytest.mark.parametrize("versions", [("2026-07-28",), ("2025-11-25",)])
async def test_a_stream_gives_notifications_and_then_the_result(
    client: OutboundClient, versions: tuple[str, ...]
) -> None:
    async with (
        serving(sdk_server().streamable_http_app(), "on") as url,
        await open_connection(client, url, BEARER, versions) as connection,
    ):
        params: Any = {"name": "report", "arguments": {}, "_meta": {"progressToken": "p"}}
        async with aclosing(connection.stream("tools/call", params)) as stream:
            items = [item async for item in stream]
        assert [type(item) for item in items] == [Notification, Notification, Notification, Result]
        assert isinstance(items[0], Notification)
        assert items[0].message["method"] == "notifications/progress"


async def test_a_closed_session_is_gone_at_the_upstream(client: OutboundClient) -> None:
    async with serving(sdk_server().streamable_http_app(), "on") as url:
        session = await LegacySession.open(client, url, BEARER)
        session_id = session.session_id
        assert session_id
        await session.close()
        session.session_id = session_id
        error = await fails(session.request("tools/list", {}))
        assert (error.kind, error.status, error.may_have_been_sent) == ("session_lost", 404, False)


async def test_modern_requests_carry_envelope_and_routing_headers(client: OutboundClient) -> None:
    seen: list[tuple[str, dict[bytes, bytes], Any]] = []
    async with scripted(lambda message: as_json(result(message, {})), seen) as url:
        connection = ModernConnection(client, url, BEARER)
        await connection.answer(
            "tools/call",
            {
                "name": "gr\u00fc\u00df",
                "arguments": {"x": 1},
                "_meta": {"progressToken": 1, "io.modelcontextprotocol/protocolVersion": "x"},
            },
            extra_headers=((b"Mcp-Param-Region", b"eu"),),
        )
        await connection.request("tasks/get", {"taskId": "t1"})
    _, headers, message = seen[0]
    assert headers[b"mcp-protocol-version"] == b"2026-07-28"
    assert headers[b"mcp-method"] == b"tools/call"
    assert headers[b"mcp-name"] == b"=?base64?Z3LDvMOf?="
    assert headers[b"mcp-param-region"] == b"eu"
    assert headers[b"authorization"] == b"Bearer upstream-credential"
    meta = message["params"]["_meta"]
    assert meta["progressToken"] == 1
    assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert meta["io.modelcontextprotocol/clientCapabilities"] == {}
    assert meta["io.modelcontextprotocol/clientInfo"]["name"] == "scopegate"
    assert seen[1][1][b"mcp-name"] == b"t1"


async def test_a_legacy_session_uses_its_id_and_version_and_answers_the_servers_requests(
    client: OutboundClient,
) -> None:
    seen: list[tuple[str, dict[bytes, bytes], Any]] = []

    def script(message: dict[str, Any]) -> Reply:
        if message.get("method") == "initialize":
            return as_json(result(message, INITIALIZED), session="abc")
        if message.get("method") == "tools/call":
            return as_events(
                {"jsonrpc": "2.0", "id": "s1", "method": "ping"},
                {"jsonrpc": "2.0", "id": 9, "method": "elicitation/create", "params": {}},
                {"jsonrpc": "2.0", "method": "notifications/message", "params": {}},
                result(message, {"content": []}),
            )
        return 202, {}, b""

    async with scripted(script, seen) as url, await LegacySession.open(client, url, BEARER) as session:
        assert await session.request("tools/call", {"name": "x"}) == {"content": []}
    methods = [(method, message.get("method"), message.get("id")) for method, _, message in seen]
    assert methods == [
        ("POST", "initialize", 1),
        ("POST", "notifications/initialized", None),
        ("POST", "tools/call", 2),
        ("POST", None, "s1"),
        ("POST", None, 9),
        ("DELETE", None, None),
    ]
    assert seen[3][2] == {"jsonrpc": "2.0", "id": "s1", "result": {}}
    assert seen[4][2]["error"]["code"] == -32601
    assert b"mcp-session-id" not in seen[0][1]
    for _, headers, _ in seen[1:]:
        assert (headers[b"mcp-session-id"], headers[b"mcp-protocol-version"]) == (b"abc", b"2025-11-25")


@pytest.mark.parametrize(
    ("reply", "kind", "status"),
    [
        (lambda m: as_json({**result(m, {}), "id": 999}), "invalid_response", None),
        (lambda m: as_json({**result(m, {}), "id": str(m["id"])}), "invalid_response", None),
        (lambda m: as_json({**result(m, {}), "id": True}), "invalid_response", None),
        (lambda m: as_json({"id": m["id"], "result": {}}), "invalid_response", None),
        (lambda m: as_json(result(m, [])), "invalid_response", None),
        (lambda m: as_json([result(m, {})]), "invalid_response", None),
        (
            lambda m: as_json({**result(m, {}), "error": {"code": 1, "message": "x"}}),
            "invalid_response",
            None,
        ),
        (lambda m: as_json({"jsonrpc": "2.0", "id": m["id"], "error": "x"}), "invalid_response", None),
        (lambda m: (200, {"Content-Type": "application/json"}, b"<html>"), "invalid_response", None),
        (lambda m: (200, {"Content-Type": "application/json"}, b'{"a":1,"a":2}'), "invalid_response", None),
        (lambda m: (200, {"Content-Type": "text/html"}, b"<html>"), "invalid_response", 200),
        (lambda m: (202, {}, b""), "invalid_response", 202),
        (lambda m: (307, {"Location": "http://example.com/"}, b""), "redirect", 307),
        (lambda m: (500, {}, b"oops"), "http_error", 500),
        (lambda m: (401, {"WWW-Authenticate": "Bearer"}, b""), "http_error", 401),
        (
            lambda m: as_json(
                {"jsonrpc": "2.0", "id": "server-error", "error": {"code": -32000, "message": "m"}}, 400
            ),
            "rpc",
            400,
        ),
        (
            lambda m: as_json({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "m"}}),
            "rpc",
            200,
        ),
        (lambda m: as_events(), "unreachable", None),
        (lambda m: as_events(result(m, {}), result(m, {})), "invalid_response", None),
        (lambda m: as_events({**result(m, {}), "id": 999}), "invalid_response", None),
        (
            lambda m: as_events({"jsonrpc": "2.0", "id": 1, "method": "ping"}, result(m, {})),
            "invalid_response",
            None,
        ),
        (lambda m: as_events("text"), "invalid_response", None),
        (
            lambda m: (200, {"Content-Type": "text/event-stream"}, b"data: " + b"x" * 5_000_000),
            "too_large",
            None,
        ),
    ],
)
async def test_a_misbehaving_server_gives_a_typed_error(
    client: OutboundClient, reply: Callable[[dict[str, Any]], Reply], kind: str, status: int | None
) -> None:
    async with scripted(reply) as url:
        error = await fails(ModernConnection(client, url, BEARER).request("tools/list"))
        assert (error.kind, error.status) == (kind, status)


async def test_a_stream_that_stays_open_behind_its_answer_is_cut(client: OutboundClient) -> None:
    cut = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = json.loads((await receive())["body"])
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        event = b"data: " + json.dumps(result(message, {"a": 1})).encode() + b"\n\n"
        await send({"type": "http.response.body", "body": event, "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        cut.set()

    async with serving(app) as url, asyncio.timeout(50):
        assert await ModernConnection(client, url, ()).request("x") == {"a": 1}
        await cut.wait()


async def test_a_stream_that_ended_with_its_answer_is_not_resumed(
    client: OutboundClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resume(*_: object) -> None:
        raise AssertionError("the answer is there")

    def script(message: dict[str, Any]) -> Reply:
        if "id" not in message:
            return 202, {}, b""
        status, headers, events = as_events(result(message, INITIALIZED))
        return status, headers, b"id: e-1\ndata: \n\nid: e-2\n" + events

    monkeypatch.setattr(LegacySession, "_resume", resume)
    async with scripted(script) as url, await LegacySession.open(client, url, BEARER) as session:
        assert await session.request("x") == INITIALIZED


async def test_who_is_not_there_or_may_not_be_asked(client: OutboundClient) -> None:
    async with scripted(lambda message: as_json({})) as url:
        pass
    assert (await fails(probe(client, url, BEARER))).kind == "unreachable"
    error = await fails(probe(client, "http://10.0.0.1/mcp", BEARER))
    assert (error.kind, error.may_have_been_sent) == ("forbidden", False)


async def test_a_silent_server_is_a_timeout(client: OutboundClient) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with serving(app) as url:
        error = await fails(probe(client, url, BEARER, timeouts=Timeouts(first_byte=0.1)))
        assert error.kind == "timeout"


async def test_a_server_of_neither_era_is_refused(client: OutboundClient) -> None:
    for reply, kind in (
        (as_json({"hello": "world"}), "invalid_response"),
        ((404, {}, b"nope"), "http_error"),
        ((302, {"Location": "/"}, b""), "redirect"),
    ):
        async with scripted(lambda message, reply=reply: reply) as url:  # type: ignore[misc]
            assert (await fails(probe(client, url, BEARER))).kind == kind


async def test_before_send_guards_the_request(client: OutboundClient) -> None:
    seen: list[tuple[str, dict[bytes, bytes], Any]] = []
    async with scripted(lambda message: as_json(result(message, {})), seen) as url:
        connection = ModernConnection(client, url, BEARER)
        with pytest.raises(NotForwarded):
            await connection.request("tools/call", {"name": "x"}, before_send=lambda: False)
        assert seen == []
        assert await connection.request("tools/call", {"name": "x"}, before_send=lambda: True) == {}


def tool(name: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}}


async def test_all_pages_are_read_in_order(client: OutboundClient) -> None:
    def script(message: dict[str, Any]) -> Reply:
        page = int(message["params"].get("cursor", "0"))
        following = {"nextCursor": str(page + 1)} if page < 9 else {}
        return as_json(result(message, {"tools": [tool(f"t{page}a"), tool(f"t{page}b")], **following}))

    async with scripted(script) as url:
        connection = ModernConnection(client, url, BEARER)
        names = [item["name"] for item in await list_tools(connection)]
        assert names == [f"t{page}{half}" for page in range(10) for half in "ab"]
        for caps in ({"max_pages": 9}, {"max_tools": 19}, {"max_bytes": 500}):
            assert (await fails(list_tools(connection, **caps))).kind == "too_large"


@pytest.mark.parametrize(
    "page",
    [
        {"tools": [], "nextCursor": "same"},
        {"tools": [tool("a")], "nextCursor": "same"},
        {"tools": [], "nextCursor": 5},
        {"tools": [tool("a"), tool("a")]},
        {"tools": [{"inputSchema": {}}]},
        {"tools": [tool("")]},
        {"tools": [tool(7)]},
        {"tools": [{"name": "a"}]},
        {"tools": ["a"]},
        {"tools": {}},
        {},
    ],
)
async def test_a_list_that_makes_no_sense_is_refused(client: OutboundClient, page: Any) -> None:
    async with scripted(lambda message: as_json(result(message, page))) as url:
        assert (await fails(list_tools(ModernConnection(client, url, BEARER)))).kind == "invalid_response"


async def test_a_server_without_tools_has_an_empty_list(client: OutboundClient) -> None:
    def script(message: dict[str, Any]) -> Reply:
        return as_json(
            {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}}, 404
        )

    async with scripted(script) as url:
        assert await list_tools(ModernConnection(client, url, BEARER)) == []
