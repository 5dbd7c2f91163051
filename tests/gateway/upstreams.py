"""Upstreams for tests of the gateway: real ones with the ``mcp`` package, and scripted ones."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mcp.server.mcpserver import Context, MCPServer

from tests.gateway.world import CREDENTIAL, serve


@dataclass
class Seen:
    """What an upstream received: (HTTP method, headers, parsed body) in order."""

    requests: list[tuple[str, dict[bytes, bytes], Any]] = field(default_factory=list)

    def of(self, method: str) -> list[tuple[dict[bytes, bytes], Any]]:
        """The JSON-RPC messages with this method."""
        return [
            (headers, body)
            for _, headers, body in self.requests
            if isinstance(body, dict) and body.get("method") == method
        ]


def _server() -> MCPServer:
    server = MCPServer("reference", instructions="Be brief.")

    @server.tool()
    async def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    async def leak() -> str:
        """Say what should not be said."""
        return f"the key is {CREDENTIAL.decode()}"

    @server.tool()
    async def steps(ctx: Context) -> str:
        """Tell how it goes."""
        for step in range(3):
            await ctx.report_progress(step, 3, f"step {step}")
        return "done"

    @server.tool()
    async def slow(ctx: Context) -> str:
        """Say something, then nothing for long."""
        await ctx.report_progress(0, 1, "begun")
        await asyncio.Event().wait()
        return "never"

    return server


@asynccontextmanager
async def reference(*, modern: bool = True, json_response: bool = False) -> AsyncIterator[tuple[str, Seen]]:
    """The reference server: its URL and what it saw. ``modern=False`` lets it know the legacy era alone."""
    app = _server().streamable_http_app(json_response=json_response)
    seen = Seen()

    async def recording(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        body, more = b"", True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        seen.requests.append((scope["method"], headers, json.loads(body) if body else None))
        if not modern and headers.get(b"mcp-protocol-version") == b"2026-07-28":
            error = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Bad version"}}
            await send_json(send, 400, error)
            return
        sent = False

        async def replay() -> Any:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        await app(scope, replay, send)

    async with serve(recording, lifespan="on") as origin:
        yield f"{origin}/mcp", seen


def legacy_only(app: Any) -> Any:
    """The same application, not knowing the modern era."""

    async def older(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"mcp-protocol-version") == b"2026-07-28":
            error = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Bad version"}}
            await send_json(send, 400, error)
            return
        await app(scope, receive, send)

    return older


async def send_json(send: Any, status: int, message: Any, headers: dict[str, str] | None = None) -> None:
    """Answer with JSON."""
    sent = {"content-type": "application/json", **(headers or {})}
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        }
    )
    await send({"type": "http.response.body", "body": raw})


async def send_events(send: Any, *pieces: bytes, last: bool = True) -> None:
    """Answer with an event stream of raw pieces."""
    headers = [(b"content-type", b"text/event-stream"), (b"set-cookie", b"a=b")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if last:
        await send({"type": "http.response.body", "body": b""})


def event(message: Any) -> bytes:
    """One event."""
    return b"event: message\r\ndata: " + json.dumps(message).encode() + b"\r\n\r\n"


Script = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[tuple[str, Seen]]:
    """A server that does as the script says: ``script(message, receive, send)``."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            got = await receive()
            body += got.get("body", b"")
            more = got.get("more_body", False)
        message = json.loads(body) if body else {}
        seen.requests.append((scope["method"], dict(scope["headers"]), message))
        await script(message, receive, send)

    async with serve(app) as origin:
        yield f"{origin}/mcp", seen
