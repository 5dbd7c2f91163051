"""A fast MCP server for benchmarks: both eras, no sessions, JSON answers, minimal HTTP parsing.

It accepts only what the clients of this benchmark send, so do not use it as an example of an HTTP server.
"""

import asyncio
import json
from typing import Any, cast

from bench.messages import LEGACY, MODERN, TOOLS
from bench.serving import serve

_HEAD_END = b"\r\n\r\n"
_ACKNOWLEDGED = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged"}


class Upstream(asyncio.Protocol):
    """One connection. It answers complete requests in order."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        self._buffer = self._buffer + data if self._buffer else data
        while self._transport is not None:
            head_end = self._buffer.find(_HEAD_END)
            if head_end < 0:
                return
            head = self._buffer[:head_end].lower()
            start = head_end + len(_HEAD_END)
            end = start + _content_length(head)
            if len(self._buffer) < end:
                return
            body, self._buffer = self._buffer[start:end], self._buffer[end:]
            self._transport.write(_answer(head, body))


def _content_length(head: bytes) -> int:
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    line_end = head.find(b"\r\n", at + 2)
    return int(head[at + 17 : line_end if line_end > 0 else len(head)])


def _answer(head: bytes, body: bytes) -> bytes:
    if not head.startswith(b"post "):
        return b"HTTP/1.1 405 Method Not Allowed\r\nallow: POST\r\ncontent-length: 0\r\n\r\n"
    message = json.loads(body)
    if "id" not in message:
        return b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
    if message["method"] == "subscriptions/listen":
        return _stream(message)
    modern = b"\r\nmcp-protocol-version: " + MODERN.encode() in head
    answer = {"jsonrpc": "2.0", "id": message["id"], **_outcome(message, modern=modern)}
    content = json.dumps(answer, separators=(",", ":")).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(content),
        content,
    )


def _stream(message: dict[str, Any]) -> bytes:
    """Start a stream that stays open until the client closes it."""
    meta = {"io.modelcontextprotocol/subscriptionId": message["id"]}
    params = {"notifications": message["params"]["notifications"], "_meta": meta}
    event = b"data: %b\n\n" % json.dumps({**_ACKNOWLEDGED, "params": params}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return b"%b%x\r\n%b\r\n" % (head, len(event), event)


def _outcome(message: dict[str, Any], *, modern: bool) -> dict[str, Any]:
    result: dict[str, Any]
    match message["method"]:
        case "tools/call":
            text = f"echo {message['params']['arguments']['text']}"
            result = {"content": [{"type": "text", "text": text}], "isError": False}
        case "tools/list":
            result = {"tools": TOOLS, **({"ttlMs": 1000, "cacheScope": "public"} if modern else {})}
        case "initialize":
            result = {"protocolVersion": LEGACY, **_about()}
        case "server/discover":
            result = {"supportedVersions": [MODERN], "ttlMs": 1000, "cacheScope": "public", **_about()}
        case _:
            return {"error": {"code": -32601, "message": "Method not found"}}
    if modern:
        result["resultType"] = "complete"
    return {"result": result}


def _about() -> dict[str, Any]:
    return {"capabilities": {"tools": {}}, "serverInfo": {"name": "fake-upstream", "version": "1"}}


if __name__ == "__main__":
    serve(Upstream)
