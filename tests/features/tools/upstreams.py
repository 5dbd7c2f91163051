"""Upstream servers on loopback for tests: a real MCP server of the SDK whose tools can change, and bad ones."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import uvicorn
from mcp.server.lowlevel.server import Server
from mcp_types import ClientCapabilities, ListToolsResult, PaginatedRequestParams, Tool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.serving import listener, served

MODERN = b"2026-07-28"


def tool(name: str, description: str = "Does something.", **members: Any) -> Tool:
    """A tool definition as the SDK serves it."""
    return Tool(name=name, description=description, input_schema={"type": "object"}, **members)


@dataclass
class Upstream:
    """A running server: its URL, the tools that it offers from now on, and the headers that it was sent."""

    url: str = ""
    tools: list[Tool] = field(default_factory=list)
    page_size: int = 100
    say: Callable[[str | None], None] = lambda _: None
    """Give other instructions from now on."""
    seen: list[dict[str, str]] = field(default_factory=list)
    listed: int = 0
    needs: ClientCapabilities | None = None
    """What a client has to be able to do before it is shown any tool."""
    before_answer: Callable[[], Any] | None = None

    async def list_tools(self, context: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
        self.listed += 1
        start = int(params.cursor) if params is not None and params.cursor else 0
        page = self.tools[start : start + self.page_size]
        if self.before_answer is not None:
            await self.before_answer()
        if self.needs is not None and not context.session.check_client_capability(self.needs):
            page = []
        end = start + self.page_size
        return ListToolsResult(tools=page, next_cursor=str(end) if end < len(self.tools) else None)


def _era_gate(app: ASGIApp, upstream: Upstream, era: str) -> ASGIApp:
    """Record the headers; with the era ``legacy`` or ``modern`` refuse the other one as servers of that era do."""

    async def gate(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        upstream.seen.append({key.decode(): value.decode() for key, value in headers.items()})
        is_modern = headers.get(b"mcp-protocol-version") == MODERN
        if (era == "legacy" and is_modern) or (era == "modern" and not is_modern):
            await answer(400, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}')(
                scope, receive, send
            )
            return
        await app(scope, receive, send)

    return gate


def answer(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> ASGIApp:
    """An application that answers every request with the same response."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        more = True
        while more:
            message: Message = await receive()
            more = message.get("more_body", False)
        start = {"type": "http.response.start", "status": status}
        await send({**start, "headers": [(b"content-type", b"application/json"), *headers]})
        await send({"type": "http.response.body", "body": body})

    return app


@asynccontextmanager
async def serving(app: ASGIApp, *, lifespan: str = "off") -> AsyncIterator[str]:
    """Serve an application on a free port of loopback; yields the origin."""
    config = uvicorn.Config(app, log_level="error", ws="none", lifespan=lifespan, timeout_graceful_shutdown=1)  # type: ignore[arg-type]
    with listener() as sock:
        async with served(config, sock, force=False):
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@asynccontextmanager
async def mcp_server(
    *tools: Tool, era: str = "both", page_size: int = 100, says: str | None = None
) -> AsyncIterator[Upstream]:
    """A real MCP server. ``era``: ``both``, ``legacy`` or ``modern``."""
    upstream = Upstream(tools=list(tools), page_size=page_size)
    server: Server[Any] = Server(
        "upstream", version="1", instructions=says, on_list_tools=upstream.list_tools
    )
    upstream.say = partial(setattr, server, "instructions")
    app = server.streamable_http_app(json_response=era == "legacy")
    async with serving(_era_gate(app, upstream, era), lifespan="on") as origin:
        upstream.url = f"{origin}/mcp"
        yield upstream


def raw_listing(*items: Any) -> ASGIApp:
    """A legacy server of plain JSON, for definitions that the SDK would refuse to serve."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        request = json.loads(body) if body else {}
        if request.get("method") == "initialize":
            result: dict[str, Any] = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "raw", "version": "1"},
            }
        elif request.get("method") == "tools/list":
            result = {"tools": list(items)}
        elif "id" in request:
            error = {"code": -32601, "message": "unknown"}
            text = json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error})
            await answer(400, text.encode())(scope, _nothing, send)
            return
        else:
            await answer(202, b"")(scope, _nothing, send)
            return
        text = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result})
        await answer(200, text.encode())(scope, _nothing, send)

    return app


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
