"""One caller's way to one upstream, in either era."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
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
from mcp_types.jsonrpc import METHOD_NOT_FOUND
from mcp_types.version import (
    HANDSHAKE_PROTOCOL_VERSIONS,
    LATEST_HANDSHAKE_VERSION,
    LATEST_MODERN_VERSION,
    MODERN_PROTOCOL_VERSIONS,
    is_version_at_least,
)

from app import __version__
from app.kit.mcp_upstream.errors import McpUpstreamError
from app.kit.mcp_upstream.exchange import (
    ACCEPT,
    Endpoint,
    Headers,
    Item,
    Result,
    as_object,
    failure,
    items,
    notifications,
)
from app.kit.outbound import OutboundClient, OutboundResponse, Target, Timeouts, UpstreamError
from app.kit.strict_json import JsonObject

BeforeSend = Callable[[], bool]
Aside = Callable[[Coroutine[None, None, None]], None]

DEFAULT_TIMEOUTS = Timeouts()
DEFAULT_MAX_BYTES = 64 * 1024 * 1024

# For what is done on the side: an upstream that hangs there must not hold up a cancelled or answered call.
_ASIDE = Timeouts(connect=2.0, first_byte=5.0, idle=5.0, total=5.0)

_SESSION_HEADER = b"Mcp-Session-Id"
_SESSION_ID = re.compile(rb"[\x21-\x7e]{1,1024}")
_VERSION_HEADER = MCP_PROTOCOL_VERSION_HEADER.encode("ascii")


def client_info() -> JsonObject:
    """Who we say that we are, as MCP's ``Implementation``."""
    return {"name": "scopegate", "version": __version__}


class _Connection:
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
        extra_headers: Headers = (),
        declares: JsonObject | None = None,
    ) -> AsyncGenerator[Item, None]:
        """Notifications as they come, the result last. Closing it early (``aclosing``) cuts the upstream request.

        ``before_send``: see ``OutboundClient.request``. ``declares``: capabilities of the client that this request
        is for, where requests declare them. Raises ``McpUpstreamError`` and ``NotForwarded``.
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
    ) -> JsonObject:
        """The result; notifications on the way are dropped. Raises as ``stream`` does."""
        stream = self.stream(method, params, before_send=before_send, extra_headers=extra_headers)
        async with aclosing(stream):
            async for item in stream:
                if isinstance(item, Result):
                    return item.result
        raise McpUpstreamError("unreachable", "the upstream's stream ended without an answer")

    async def close(self) -> None:
        """End it at the upstream; failing to is no error."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()


class LegacySession(_Connection):
    """A session of 2024-11-05 to 2025-11-25. ``open`` makes one; ``async with`` or ``close`` ends it.

    The upstream's requests are answered here: ``ping`` with ``{}``, all others with "method not found".
    ``session_id`` is None where the upstream keeps no sessions. With ``aside``, which runs what nobody waits for,
    the upstream is told of a request whose stream was closed early: a closed stream alone cancels nothing.
    """

    def __init__(
        self,
        client: OutboundClient,
        url: str | Target,
        headers: Headers,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        max_bytes: int = DEFAULT_MAX_BYTES,
        caller: int | None = None,
    ) -> None:
        super().__init__(client, url, headers, timeouts, max_bytes, caller)
        self.protocol_version = ""
        self.session_id: str | None = None
        self.server_info: JsonObject = {}
        self.capabilities: JsonObject = {}
        self.instructions: str | None = None
        self.aside: Aside | None = None

    @classmethod
    async def open(
        cls,
        client: OutboundClient,
        url: str | Target,
        headers: Headers,
        *,
        version: str = LATEST_HANDSHAKE_VERSION,
        client_capabilities: JsonObject | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        max_bytes: int = DEFAULT_MAX_BYTES,
        before_send: BeforeSend | None = None,
        caller: int | None = None,
    ) -> Self:
        """``initialize`` asking for ``version`` (the upstream may choose an older one) and
        ``notifications/initialized``. ``before_send`` guards the first; ``caller``: see ``OutboundClient.request``.
        Raises as ``stream`` does."""
        session = cls(client, url, headers, timeouts=timeouts, max_bytes=max_bytes, caller=caller)
        params: JsonObject = {
            "protocolVersion": version,
            "capabilities": client_capabilities or {},
            "clientInfo": client_info(),
        }
        try:
            result = await session.request("initialize", params, before_send=before_send)
            session._negotiated(result)
            await session.notify("notifications/initialized")
        except BaseException:
            await session.close()
            raise
        return session

    async def stream(
        self,
        method: str,
        params: JsonObject | None = None,
        *,
        before_send: BeforeSend | None = None,
        extra_headers: Headers = (),
        declares: JsonObject | None = None,
    ) -> AsyncGenerator[Item, None]:
        """See ``_Connection.stream``; a dead session raises ``session_lost``."""
        request_id = self._next_id()
        message: JsonObject = {"jsonrpc": "2.0", "id": request_id, "method": method}
        if params is not None:
            message["params"] = params
        headers = (*ACCEPT, *self._session_headers(), *extra_headers)
        answered = method == "initialize"  # Which may not be cancelled.
        try:
            response = await self._endpoint.send("POST", headers, message, before_send)
            try:
                self._check_session(method, response)
                found = items(response, request_id, self._endpoint.max_bytes, self._answer_server)
                async with aclosing(found):
                    async for item in found:
                        answered = answered or isinstance(item, Result)
                        yield item
            finally:
                response.close()
        except (asyncio.CancelledError, GeneratorExit):
            if not answered and self.aside is not None:
                self.aside(self._cancel(request_id))
            raise

    def _check_session(self, method: str, response: OutboundResponse) -> None:
        if method == "initialize":
            self._take_session_id(response.header(_SESSION_HEADER.lower()))
        elif response.status == 404 and self.session_id is not None:
            raise McpUpstreamError(
                "session_lost", "the session has ended", status=404, may_have_been_sent=False
            )

    async def listen(
        self, wanted: JsonObject, timeouts: Timeouts, *, before_send: BeforeSend | None = None
    ) -> AsyncGenerator[JsonObject, None]:
        """See ``_Connection.listen``: whatever the upstream tells this session."""
        headers = ((b"Accept", b"text/event-stream"), *self._session_headers())
        response = await self._endpoint.send("GET", headers, None, before_send, timeouts)
        async with aclosing(notifications(response, self._answer_server)) as found:
            async for message in found:
                yield message

    async def notify(self, method: str, params: JsonObject | None = None) -> None:
        """Send a notification, as ``notifications/cancelled``. Raises ``McpUpstreamError``."""
        message: JsonObject = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        await self._post_and_forget(message)

    async def _cancel(self, request_id: int) -> None:
        params: JsonObject = {"requestId": request_id}
        message: JsonObject = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
        try:
            await self._post_and_forget(message, _ASIDE)
        except McpUpstreamError:
            return

    async def close(self) -> None:
        """DELETE the session at the upstream; failing to is no error."""
        if self.session_id is None:
            return
        headers = self._session_headers()
        self.session_id = None
        try:
            response = await self._endpoint.send("DELETE", headers, None, timeouts=_ASIDE)
            await response.read()
        except (McpUpstreamError, UpstreamError):
            return

    def _session_headers(self) -> Headers:
        headers: Headers = ()
        if self.session_id is not None:
            headers = ((_SESSION_HEADER, self.session_id.encode("ascii")),)
        if is_version_at_least(self.protocol_version, "2025-06-18"):
            headers = (*headers, (_VERSION_HEADER, self.protocol_version.encode("ascii")))
        return headers

    def _take_session_id(self, value: bytes | None) -> None:
        if value is not None:
            if not _SESSION_ID.fullmatch(value):
                raise McpUpstreamError("rubbish", "the session id is not valid")
            self.session_id = value.decode("ascii")

    def _negotiated(self, result: JsonObject) -> None:
        chosen = result.get("protocolVersion")
        if not isinstance(chosen, str) or chosen not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise McpUpstreamError("rubbish", "the upstream chose a protocol version that nobody knows")
        self.protocol_version = chosen
        self.server_info = as_object(result.get("serverInfo"), "serverInfo")
        self.capabilities = as_object(result.get("capabilities"), "capabilities")
        instructions = result.get("instructions")
        self.instructions = instructions if isinstance(instructions, str) else None

    async def _answer_server(self, request: JsonObject) -> None:
        answer: JsonObject = {"jsonrpc": "2.0", "id": request["id"]}
        if request.get("method") == "ping":
            answer["result"] = {}
        else:
            answer["error"] = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
        try:
            await self._post_and_forget(answer, _ASIDE)
        except McpUpstreamError:
            return  # What the upstream does without its answer shows in the stream.

    async def _post_and_forget(self, message: JsonObject, timeouts: Timeouts | None = None) -> None:
        headers = (*ACCEPT, *self._session_headers())
        response = await self._endpoint.send("POST", headers, message, timeouts=timeouts)
        try:
            if response.status >= 300:
                raise await failure(response)
            if response.status in (202, 204):
                await response.read()  # Empty: reading to the end keeps the connection.
        except UpstreamError:
            return
        finally:
            response.close()


class ModernConnection(_Connection):
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
        extra_headers: Headers = (),
        declares: JsonObject | None = None,
    ) -> AsyncGenerator[Item, None]:
        """See ``_Connection.stream``. ``extra_headers``: the ``Mcp-Param-*`` of a tool that asks for them."""
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
        found = items(response, request_id, self._endpoint.max_bytes, None)
        async with aclosing(found):
            async for item in found:
                yield item

    async def listen(
        self, wanted: JsonObject, timeouts: Timeouts, *, before_send: BeforeSend | None = None
    ) -> AsyncGenerator[JsonObject, None]:
        """See ``_Connection.listen``: ``subscriptions/listen`` for what is wanted."""
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
            (_VERSION_HEADER, self.protocol_version.encode("ascii")),
            (MCP_METHOD_HEADER.encode("ascii"), method.encode("ascii")),
        )
        key = "taskId" if method.startswith("tasks/") else NAME_BEARING_METHODS.get(method)
        name = params.get(key) if key is not None else None
        if isinstance(name, str):
            headers = (*headers, (MCP_NAME_HEADER.encode("ascii"), encode_header_value(name).encode("ascii")))
        return headers


async def open_connection(
    client: OutboundClient,
    url: str | Target,
    headers: Headers,
    protocol_versions: tuple[str, ...],
    *,
    client_capabilities: JsonObject | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    before_send: BeforeSend | None = None,
    caller: int | None = None,
) -> LegacySession | ModernConnection:
    """Modern where ``protocol_versions`` (of a probe) has it, else a new legacy session of the newest of them."""
    for known in reversed(MODERN_PROTOCOL_VERSIONS):
        if known in protocol_versions:
            return ModernConnection(
                client,
                url,
                headers,
                protocol_version=known,
                client_capabilities=client_capabilities,
                timeouts=timeouts,
                caller=caller,
            )
    newest = next((v for v in reversed(HANDSHAKE_PROTOCOL_VERSIONS) if v in protocol_versions), None)
    return await LegacySession.open(
        client,
        url,
        headers,
        version=newest or LATEST_HANDSHAKE_VERSION,
        client_capabilities=client_capabilities,
        timeouts=timeouts,
        before_send=before_send,
        caller=caller,
    )
