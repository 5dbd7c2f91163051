"""MCP calls as bytes on a keep-alive connection, so that nothing stands between a test's clock and the wire."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Self

VERSION = "2026-07-28"
BROKEN = (OSError, EOFError)
"""What an exchange raises when the connection is refused or breaks off."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Header names are lower-case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class Way:
    """How to call: which server, with which token."""

    slug: str
    secret: str

    def call(self, tool: str, call: str) -> bytes:
        """The request of one call. ``call`` (32 hexadecimal digits) is also its trace id, by which the audit
        knows it."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
            "progressToken": call,
        }
        params = {"name": tool, "arguments": {"call": call}, "_meta": meta}
        body = json.dumps({"jsonrpc": "2.0", "id": call, "method": "tools/call", "params": params}).encode()
        head = (
            f"POST /mcp/{self.slug} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.secret}\r\n"
            "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
            f"MCP-Protocol-Version: {VERSION}\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
            f"traceparent: 00-{call}-{call[:16]}-01\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Connection:
    """One connection to a gateway, one request at a time. Everything raises ``BROKEN``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect to a port of this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def exchange(self, wire: bytes) -> Answer:
        """Send a request and read its whole answer."""
        self.send(wire)
        status, headers = await self.head()
        if headers.get(b"transfer-encoding") == b"chunked":
            body = b""
            while piece := await self.chunk():
                body += piece
        else:
            body = await self._reader.readexactly(int(headers.get(b"content-length", b"0")))
        return Answer(status, headers, body)

    def send(self, wire: bytes) -> None:
        """Write a request."""
        self._writer.write(wire)

    async def head(self) -> tuple[int, dict[bytes, bytes]]:
        """The status and the headers of the next answer."""
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        pairs = (line.partition(b":") for line in lines if line)
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def chunk(self) -> bytes:
        """The next piece of a chunked body; empty at its end."""
        size = int(await self._reader.readuntil(b"\n"), 16)
        piece = await self._reader.readexactly(size + 2)
        return piece[:-2]

    def close(self) -> None:
        """Cut the connection."""
        self._writer.transport.abort()


def tool_result(answer: Answer) -> dict[str, Any] | None:
    """The result of a call that ran; ``None`` for every refusal."""
    if answer.status != 200:
        return None
    result: dict[str, Any] | None = json.loads(answer.body).get("result")
    return None if result is None or result.get("isError") else result
