"""The measured call: its bytes for each system, and the check of its answer.

Every request has a unique number, in its JSON-RPC id and in its argument, which the upstream echoes. So an answer to
another request never counts as correct.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
TOOL = "echo"

TOOLS: tuple[dict[str, Any], ...] = tuple(
    {
        "name": name,
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        },
        "annotations": {"readOnlyHint": True},
    }
    for name, description in (
        (TOOL, "Say the text again."),
        ("count", "Count the characters of the text."),
        ("reverse", "Say the text backwards."),
        ("upper", "Say the text in capitals."),
    )
)
"""The tools that the fake upstream lists, which are also seeded into the database."""

_DIGITS = 9
# A placeholder for the number, with the same length.
_PLACE = "N" * _DIGITS


@dataclass(frozen=True, slots=True)
class Requests:
    """Prepared requests to one system. Only the number is inserted when sending."""

    heads: Sequence[bytes]
    """Request line and headers, one for each token."""
    body: tuple[bytes, bytes, bytes]
    """The body around its two numbers."""

    def wire(self, number: int) -> bytes:
        """The bytes of the request with this number; tokens take turns."""
        digits = b"%09d" % number
        before, between, after = self.body
        head = self.heads[number % len(self.heads)]
        return b"%b%b%b%b%b%b" % (head, before, digits, between, digits, after)

    def is_right(self, number: int, answer: bytes) -> bool:
        """Check an answer quickly, under load."""
        return (
            answer.startswith(b"HTTP/1.1 200 ")
            and _id(number) in answer
            and b'"%b"' % _echo(number) in answer
        )

    def is_exactly_right(self, number: int, head: bytes, body: bytes) -> bool:
        """Check an answer completely."""
        message = json.loads(body)
        content = message["result"]["content"]
        return (
            head.startswith(b"HTTP/1.1 200 ")
            and json.dumps(message["id"]).encode() == _id(number)
            and content == [{"type": "text", "text": _echo(number).decode()}]
            and not message["result"].get("isError", False)
        )


def _id(number: int) -> bytes:
    return b'"b%09d"' % number


def _echo(number: int) -> bytes:
    return b"echo t%09d" % number


def make_requests(host: str, path: str, tool: str, version: str, tokens: Sequence[str]) -> Requests:
    """Requests of one protocol era to ``http://host/path``, one head for each token."""
    body = _body(tool, version)
    before, between, after = body.split(_PLACE.encode())
    modern = f"Mcp-Method: tools/call\r\nMcp-Name: {tool}\r\n" if version == MODERN else ""
    own = f"MCP-Protocol-Version: {version}\r\n{modern}"
    heads = [http_head("POST", host, path, token, len(body), own) for token in tokens]
    return Requests(heads, (before, between, after))


def make_listen(host: str, path: str, token: str) -> bytes:
    """The request for a stream that stays open."""
    params = {"notifications": {"toolsListChanged": True}, "_meta": _META}
    message = {"jsonrpc": "2.0", "id": "listen", "method": "subscriptions/listen", "params": params}
    body = json.dumps(message, separators=(",", ":")).encode()
    own = f"MCP-Protocol-Version: {MODERN}\r\nMcp-Method: subscriptions/listen\r\n"
    return http_head("POST", host, path, token, len(body), own) + body


def http_head(method: str, host: str, path: str, token: str, length: int, own: str = "") -> bytes:
    """Request line and headers; ``own`` are more header lines."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
        f"{own}User-Agent: scopegate-bench\r\nContent-Length: {length}\r\n\r\n"
    ).encode("ascii")


_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}


def _body(tool: str, version: str) -> bytes:
    params: dict[str, Any] = {"name": tool, "arguments": {"text": f"t{_PLACE}"}}
    if version == MODERN:
        params["_meta"] = _META
    message = {"jsonrpc": "2.0", "id": f"b{_PLACE}", "method": "tools/call", "params": params}
    return json.dumps(message, separators=(",", ":")).encode()
