"""The era without sessions."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    NAME_BEARING_METHODS,
    encode_header_value,
)
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.version import (
    LATEST_MODERN_VERSION,
)

from app.lib.strict_json import JsonObject
from app.outbound.http import OutboundClient, Target, Timeouts
from app.outbound.mcp.connection import (
    DEFAULT_MAX_BYTES,
    DEFAULT_TIMEOUTS,
    VERSION_HEADER,
    BeforeSend,
    Connection,
    client_info,
)
from app.outbound.mcp.exchange import ACCEPT, Headers, Item, items, notifications


class ModernConnection(Connection):
    """2026-07-28: stateless, every request carries its envelope. Nothing to open or to close.

    ``params`` are given without the three envelope keys; other members of ``_meta`` are kept.
    """

    def __init__(
        self,
        client: OutboundClient,
        url: str | Target,
        headers: Headers,
        *,
        protocol_version: str = LATEST_MODERN_VERSION,
        client_capabilities: JsonObject | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        max_bytes: int = DEFAULT_MAX_BYTES,
        caller: int | None = None,
    ) -> None:
        super().__init__(client, url, headers, timeouts, max_bytes, caller)
        self.protocol_version = protocol_version
        self._envelope: JsonObject = {
            PROTOCOL_VERSION_META_KEY: protocol_version,
            CLIENT_CAPABILITIES_META_KEY: client_capabilities or {},
            CLIENT_INFO_META_KEY: client_info(),
        }

    async def stream(
        self,
        method: str,
        params: JsonObject | None = None,
        *,
        before_send: BeforeSend | None = None,
        before_next: BeforeSend | None = None,
        extra_headers: Headers = (),
        declares: JsonObject | None = None,
        max_bytes: int | None = None,
    ) -> AsyncGenerator[Item, None]:
        """See ``Connection.stream``. ``extra_headers``: the ``Mcp-Param-*`` of a tool that asks for them."""
        request_id = self._next_id()
        given = params or {}
        meta = given.get("_meta")
        envelope = self._envelope
        if declares:
            envelope = {**envelope, CLIENT_CAPABILITIES_META_KEY: declares}
        enveloped = {**meta, **envelope} if isinstance(meta, dict) else envelope
        message: JsonObject = {
            "jsonrpc": "2.0",
            "id": request_id,
            "method": method,
            "params": {**given, "_meta": enveloped},
        }
        headers = (*ACCEPT, *self._routing_headers(method, given), *extra_headers)
        response = await self._endpoint.send("POST", headers, message, before_send)
        found = items(response, request_id, max_bytes or self._endpoint.max_bytes, None)
        async with aclosing(found):
            async for item in found:
                yield item

    async def listen(
        self, wanted: JsonObject, timeouts: Timeouts, *, before_send: BeforeSend | None = None
    ) -> AsyncGenerator[JsonObject, None]:
        """See ``Connection.listen``: ``subscriptions/listen`` for what is wanted."""
        method = "subscriptions/listen"
        message: JsonObject = {
            "jsonrpc": "2.0",
            "id": self._next_id(),
            "method": method,
            "params": {"notifications": wanted, "_meta": self._envelope},
        }
        headers = (*ACCEPT, *self._routing_headers(method, {}))
        response = await self._endpoint.send("POST", headers, message, before_send, timeouts)
        async with aclosing(notifications(response, None)) as found:
            async for told in found:
                yield told

    def _routing_headers(self, method: str, params: JsonObject) -> Headers:
        headers: Headers = (
            (VERSION_HEADER, self.protocol_version.encode("ascii")),
            (MCP_METHOD_HEADER.encode("ascii"), method.encode("ascii")),
        )
        key = "taskId" if method.startswith("tasks/") else NAME_BEARING_METHODS.get(method)
        name = params.get(key) if key is not None else None
        if isinstance(name, str):
            headers = (*headers, (MCP_NAME_HEADER.encode("ascii"), encode_header_value(name).encode("ascii")))
        return headers
