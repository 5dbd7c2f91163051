"""JSON-RPC messages of clients of each era."""

from typing import Any

import httpx2

MODERN = "2026-07-28"
LEGACY = "2025-11-25"


def call(name: str, arguments: dict[str, Any] | None = None, id: Any = 1) -> dict[str, Any]:
    """A legacy ``tools/call``."""
    params: dict[str, Any] = {"name": name}
    if arguments is not None:
        params["arguments"] = arguments
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


def request(method: str, params: dict[str, Any] | None = None, id: Any = 1) -> dict[str, Any]:
    """A legacy request."""
    return {"jsonrpc": "2.0", "id": id, "method": method, **({} if params is None else {"params": params})}


def initialize(version: str = LEGACY) -> dict[str, Any]:
    """The legacy handshake."""
    return request(
        "initialize",
        {
            "protocolVersion": version,
            "capabilities": {"roots": {}, "sampling": {}, "elicitation": {}},
            "clientInfo": {"name": "test", "version": "1"},
        },
    )


def modern(message: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The same request in the modern era: body and headers."""
    params = dict(message.get("params", {}))
    params["_meta"] = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}, "url": {}}},
    }
    headers = {"mcp-protocol-version": MODERN, "mcp-method": message["method"]}
    named = params.get("name", params.get("uri"))
    if named is not None:
        headers["mcp-name"] = named
    return {**message, "params": params}, headers


async def post(client: httpx2.AsyncClient, path: str, message: Any, **headers: str) -> httpx2.Response:
    """Post one message."""
    return await client.post(path, json=message, headers={k.replace("_", "-"): v for k, v in headers.items()})


async def post_modern(client: httpx2.AsyncClient, path: str, message: dict[str, Any]) -> httpx2.Response:
    """Post one message in the modern era."""
    body, headers = modern(message)
    return await client.post(path, json=body, headers=headers)
