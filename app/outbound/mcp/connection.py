"""What a way to an upstream is, in either era.

The era without sessions.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Self

from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    NAME_BEARING_METHODS,
    encode_header_value,
)
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.version import (
    LATEST_MODERN_VERSION,
)

from app import __version__
from app.lib.strict_json import JsonObject
from app.outbound.http import OutboundClient, Target, Timeouts
from app.outbound.mcp.exchange import (
    ACCEPT,
    Endpoint,
    Headers,
    Item,
    McpUpstreamError,
    Result,
    items,
    notifications,
)

BeforeSend = Callable[[], bool]
DEFAULT_TIMEOUTS = Timeouts()
DEFAULT_MAX_BYTES = 64 * 1024 * 1024


VERSION_HEADER = MCP_PROTOCOL_VERSION_HEADER.encode("ascii")


def client_info() -> JsonObject:
    """Who we say that we are, as MCP's ``Implementation``."""
    return {"name": "scopegate", "version": __version__}


class Connection:
    """What both eras share: ids of our own, and ``request`` as a stream of which only the result counts."""

    def __init__(
        self,
        client: OutboundClient,
        url: str | Target,
        headers: Headers,
        timeouts: Timeouts,
        max_bytes: int,
        caller: int | None,
    ) -> None:
        target = url if isinstance(url, Target) else client.policy.check_target(url)
        self._endpoint = Endpoint(client, target, headers, timeouts, max_bytes, caller)
        self._last_id = 0

    def renew_headers(self, headers: Headers) -> None:
        """Send these from now on: the same caller's credential, renewed."""
        self._endpoint = replace(self._endpoint, headers=headers)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def stream(
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
        """Notifications as they come, the result last. Closing it early (``aclosing``) cuts the upstream request.

        ``before_send``: see ``OutboundClient.request``. ``before_next``: the same before the rest of a stream
        is asked for that the upstream ended. ``declares``: capabilities of the client that this request
        is for, where requests declare them. ``max_bytes``: what this answer may have, if less than others. Raises
        ``McpUpstreamError`` and ``NotForwarded``.
        """
        raise NotImplementedError

    def listen(
        self, wanted: JsonObject, timeouts: Timeouts, *, before_send: BeforeSend | None = None
    ) -> AsyncGenerator[JsonObject, None]:
        """Notifications that belong to no request, until the upstream ends the stream. Raises as ``stream`` does.

        ``wanted``: which, where the upstream is told. Closing it early (``aclosing``) ends the stream.
        """
        raise NotImplementedError

    async def request(
        self,
        method: str,
        params: JsonObject | None = None,
        *,
        before_send: BeforeSend | None = None,
        extra_headers: Headers = (),
        max_bytes: int | None = None,
    ) -> JsonObject:
        """The result; notifications on the way are dropped. Raises as ``stream`` does."""
        answer = await self.answer(
            method, params, before_send=before_send, extra_headers=extra_headers, max_bytes=max_bytes
        )
        return answer.result

    async def answer(
        self,
        method: str,
        params: JsonObject | None = None,
        *,
        before_send: BeforeSend | None = None,
        extra_headers: Headers = (),
        max_bytes: int | None = None,
    ) -> Result:
        """The same, with how large it was."""
        stream = self.stream(
            method, params, before_send=before_send, extra_headers=extra_headers, max_bytes=max_bytes
        )
        async with aclosing(stream):
            async for item in stream:
                if isinstance(item, Result):
                    return item
        raise McpUpstreamError("unreachable", "the upstream's stream ended without an answer")

    async def close(self) -> None:
        """End it at the upstream; failing to is no error."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()


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
