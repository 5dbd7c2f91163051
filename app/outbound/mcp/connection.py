"""The interface of MCP connections to upstreams: the stateless one, and sessions that begin with ``initialize``."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from math import inf
from time import monotonic
from typing import Self

from mcp.shared import inbound
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types import version as versions
from mcp_types.jsonrpc import METHOD_NOT_FOUND

from app import __version__
from app.lib.strict_json import JsonObject
from app.outbound.http import NotForwarded, OutboundClient, OutboundResponse, Target, Timeouts, UpstreamError
from app.outbound.mcp import exchange
from app.outbound.mcp.exchange import Endpoint, Headers, Item, McpUpstreamError, Result, ResumePoint

BeforeSend = Callable[[], bool]
DEFAULT_TIMEOUTS = Timeouts()
DEFAULT_MAX_BYTES = 64 * 1024 * 1024
VERSION_HEADER = inbound.MCP_PROTOCOL_VERSION_HEADER.encode("ascii")


def client_info() -> JsonObject:
    """Our client information, as MCP's ``Implementation``."""
    return {"name": "scopegate", "version": __version__}


class Connection:
    """The base of both connection types."""

    def __init__(
        self,
        client: OutboundClient,
        url: str | Target,
        headers: Headers,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        caller: int | None = None,
    ) -> None:
        target = url if isinstance(url, Target) else client.policy.check_target(url)
        self._endpoint = Endpoint(client, target, headers, timeouts, caller)
        self._last_id = 0

    def renew_headers(self, headers: Headers) -> None:
        """Use these headers from now on, with the renewed credential of the same caller."""
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
        """Send a request. Yields notifications as they arrive, and the result last.

        Closing it early (``aclosing``) cuts the upstream request. For ``before_send``, see ``OutboundClient.request``;
        ``before_next`` is the same for a request that resumes the stream. ``declares``: the client capabilities for
        this request, in versions where requests declare them. ``max_bytes``: a lower limit for this response. Raises
        ``McpUpstreamError`` and ``NotForwarded``.
        """
        raise NotImplementedError

    def listen(
        self, wanted: JsonObject, timeouts: Timeouts, *, before_send: BeforeSend | None = None
    ) -> AsyncGenerator[JsonObject, None]:
        """Yield notifications that belong to no request, until the upstream ends the stream. Raises as ``stream`` does.

        ``wanted``: the requested kinds, in versions that send them. Closing it early (``aclosing``) ends the stream.
        """
        raise NotImplementedError

    async def request(
        self, method: str, params: JsonObject | None = None, *, before_send: BeforeSend | None = None
    ) -> JsonObject:
        """Send a request and return its result, without notifications. Raises as ``stream`` does."""
        return (await self.answer(method, params, before_send=before_send)).result

    async def answer(
        self,
        method: str,
        params: JsonObject | None = None,
        *,
        before_send: BeforeSend | None = None,
        extra_headers: Headers = (),
        max_bytes: int | None = None,
    ) -> Result:
        """Send a request and return its result with its size."""
        stream = self.stream(
            method, params, before_send=before_send, extra_headers=extra_headers, max_bytes=max_bytes
        )
        async with aclosing(stream):
            async for item in stream:
                if isinstance(item, Result):
                    return item
        raise McpUpstreamError("unreachable", "the upstream's stream ended without an answer")

    async def close(self) -> None:
        """End the session at the upstream, if any. Ignores failures."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()


class ModernConnection(Connection):
    """A stateless connection (2026-07-28): every request carries its envelope.

    Pass ``params`` without the three envelope keys; other members of ``_meta`` are kept.
    """

    def __init__(
        self,
        client: OutboundClient,
        url: str | Target,
        headers: Headers,
        *,
        protocol_version: str = versions.LATEST_MODERN_VERSION,
        client_capabilities: JsonObject | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        caller: int | None = None,
    ) -> None:
        super().__init__(client, url, headers, timeouts=timeouts, caller=caller)
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
        """See ``Connection.stream``. ``extra_headers``: the ``Mcp-Param-*`` headers of a tool that requires them."""
        request_id = self._next_id()
        members = params or {}
        meta = members.get("_meta")
        envelope = self._envelope
        if declares:
            envelope = {**envelope, CLIENT_CAPABILITIES_META_KEY: declares}
        enveloped = {**meta, **envelope} if isinstance(meta, dict) else envelope
        sent: JsonObject = {**members, "_meta": enveloped}
        message: JsonObject = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": sent}
        headers = (*exchange.ACCEPT, *self._routing_headers(method, members), *extra_headers)
        response = await self._endpoint.send("POST", headers, message, before_send)
        stream = exchange.items(response, request_id, max_bytes or DEFAULT_MAX_BYTES, None)
        async with aclosing(stream):
            async for item in stream:
                yield item

    async def listen(
        self, wanted: JsonObject, timeouts: Timeouts, *, before_send: BeforeSend | None = None
    ) -> AsyncGenerator[JsonObject, None]:
        """See ``Connection.listen``. Sends ``subscriptions/listen``."""
        method = "subscriptions/listen"
        params: JsonObject = {"notifications": wanted, "_meta": self._envelope}
        message: JsonObject = {"jsonrpc": "2.0", "id": self._next_id(), "method": method, "params": params}
        headers = (*exchange.ACCEPT, *self._routing_headers(method, {}))
        response = await self._endpoint.send("POST", headers, message, before_send, timeouts)
        async with aclosing(exchange.notifications(response, None)) as messages:
            async for notification in messages:
                yield notification

    def _routing_headers(self, method: str, params: JsonObject) -> Headers:
        headers: Headers = (
            (VERSION_HEADER, self.protocol_version.encode("ascii")),
            (inbound.MCP_METHOD_HEADER.encode("ascii"), method.encode("ascii")),
        )
        key = "taskId" if method.startswith("tasks/") else inbound.NAME_BEARING_METHODS.get(method)
        name = params.get(key) if key is not None else None
        if isinstance(name, str):
            headers = (
                *headers,
                (inbound.MCP_NAME_HEADER.encode("ascii"), inbound.encode_header_value(name).encode("ascii")),
            )
        return headers


RunInBackground = Callable[[Coroutine[None, None, None]], None]

# For requests in the background, where a hanging upstream must not delay a cancelled or answered call.
_SIDE_TIMEOUTS = Timeouts(connect=2.0, first_byte=5.0, idle=5.0, total=5.0)
_SESSION_HEADER = b"Mcp-Session-Id"
_LAST_EVENT_ID = b"Last-Event-ID"
_SESSION_ID = re.compile(rb"[\x21-\x7e]{1,1024}")


class LegacySession(Connection):
    """A session of 2024-11-05 to 2025-11-25. ``open`` creates one; ``async with`` or ``close`` ends it.

    Requests of the upstream are answered here: ``ping`` with ``{}``, all others with "method not found". ``session_id``
    is ``None`` if the upstream has no sessions. With ``run_in_background``, a stream that is closed early sends a
    cancellation, since closing a stream does not cancel its request.
    """

    protocol_version = ""
    session_id: str | None = None
    server_info: JsonObject
    capabilities: JsonObject
    instructions: str | None = None
    run_in_background: RunInBackground | None = None

    @classmethod
    async def open(
        cls,
        client: OutboundClient,
        url: str | Target,
        headers: Headers,
        *,
        version: str = versions.LATEST_HANDSHAKE_VERSION,
        client_capabilities: JsonObject | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        before_send: BeforeSend | None = None,
        before_next: BeforeSend | None = None,
        caller: int | None = None,
    ) -> Self:
        """Send ``initialize`` with ``version`` (the upstream may choose an older one) and
        ``notifications/initialized``.

        ``before_send`` guards the first and ``before_next`` the second. For ``caller``, see ``OutboundClient.request``.
        Raises as ``stream`` does.
        """
        session = cls(client, url, headers, timeouts=timeouts, caller=caller)
        session.server_info, session.capabilities = {}, {}
        params: JsonObject = {
            "protocolVersion": version,
            "capabilities": client_capabilities or {},
            "clientInfo": client_info(),
        }
        try:
            result = await session.request("initialize", params, before_send=before_send)
            session._accept_negotiation(result)
            message: JsonObject = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            await session._post_and_forget(message, before_send=before_next)
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
        before_next: BeforeSend | None = None,
        extra_headers: Headers = (),
        declares: JsonObject | None = None,
        max_bytes: int | None = None,
    ) -> AsyncGenerator[Item, None]:
        """See ``Connection.stream``. An ended session raises ``session_lost``."""
        request_id = self._next_id()
        message: JsonObject = {"jsonrpc": "2.0", "id": request_id, "method": method}
        if params is not None:
            message["params"] = params
        headers = (*exchange.ACCEPT, *self._session_headers(), *extra_headers)
        answered = method == "initialize"  # It must not be cancelled.
        total = self._endpoint.timeouts.total
        resume = partial(self._resume, before_next, inf if total is None else monotonic() + total)
        try:
            response = await self._endpoint.send("POST", headers, message, before_send)
            try:
                self._check_session(method, response)
                stream = exchange.items(
                    response, request_id, max_bytes or DEFAULT_MAX_BYTES, self._answer_server, resume
                )
                async with aclosing(stream):
                    async for item in stream:
                        answered = answered or isinstance(item, Result)
                        yield item
            finally:
                response.close()
        except (asyncio.CancelledError, GeneratorExit):
            if not answered and self.run_in_background is not None:
                self.run_in_background(self._cancel(request_id))
            raise

    async def _resume(
        self, before_next: BeforeSend | None, deadline: float, point: ResumePoint
    ) -> OutboundResponse:
        """Resume a stream that the upstream ended to be polled (SEP-1699), without sending the request again."""
        event_id = (point.event_id or "").encode("ascii")
        headers = ((b"Accept", b"text/event-stream"), *self._session_headers(), (_LAST_EVENT_ID, event_id))
        while True:
            remaining_s = deadline - monotonic() - point.retry_s
            if remaining_s <= 0:
                raise McpUpstreamError("timeout", "the upstream did not answer in time")
            await asyncio.sleep(point.retry_s)
            timeouts = self._endpoint.timeouts
            if timeouts.total is not None:
                timeouts = replace(timeouts, total=remaining_s)
            try:
                response = await self._endpoint.send("GET", headers, None, before_next, timeouts)
                break
            except NotForwarded:
                # Only the GET was not sent. The call will be confirmed or cut soon.
                continue
            except McpUpstreamError as error:
                # The original request was sent, so the error of the GET must not allow a retry.
                if error.kind == "timeout":
                    raise McpUpstreamError("timeout", error.message) from None
                raise McpUpstreamError("unreachable", error.message, status=error.status) from None
        try:
            await exchange.check_stream(response)
        except BaseException:
            response.close()
            raise
        return response

    def _check_session(self, method: str, response: OutboundResponse) -> None:
        if method == "initialize":
            value = response.header(_SESSION_HEADER.lower())
            if value is not None:
                if not _SESSION_ID.fullmatch(value):
                    raise exchange.invalid_response("the session id is not valid")
                self.session_id = value.decode("ascii")
        elif response.status == 404 and self.session_id is not None:
            raise McpUpstreamError(
                "session_lost", "the session has ended", status=404, may_have_been_sent=False
            )

    async def listen(
        self, wanted: JsonObject, timeouts: Timeouts, *, before_send: BeforeSend | None = None
    ) -> AsyncGenerator[JsonObject, None]:
        """See ``Connection.listen``. Yields all notifications to this session."""
        headers = ((b"Accept", b"text/event-stream"), *self._session_headers())
        response = await self._endpoint.send("GET", headers, None, before_send, timeouts)
        async with aclosing(exchange.notifications(response, self._answer_server)) as messages:
            async for message in messages:
                yield message

    async def _cancel(self, request_id: int) -> None:
        params: JsonObject = {"requestId": request_id}
        message: JsonObject = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
        try:
            await self._post_and_forget(message, _SIDE_TIMEOUTS)
        except McpUpstreamError:
            return

    async def close(self) -> None:
        """DELETE the session at the upstream. Ignores failures."""
        if self.session_id is None:
            return
        headers = self._session_headers()
        self.session_id = None
        try:
            response = await self._endpoint.send("DELETE", headers, None, timeouts=_SIDE_TIMEOUTS)
            await response.read()
        except (McpUpstreamError, UpstreamError):
            return

    def _session_headers(self) -> Headers:
        headers: Headers = ()
        if self.session_id is not None:
            headers = ((_SESSION_HEADER, self.session_id.encode("ascii")),)
        if versions.is_version_at_least(self.protocol_version, "2025-06-18"):
            headers = (*headers, (VERSION_HEADER, self.protocol_version.encode("ascii")))
        return headers

    def _accept_negotiation(self, result: JsonObject) -> None:
        chosen = result.get("protocolVersion")
        if not isinstance(chosen, str) or chosen not in versions.HANDSHAKE_PROTOCOL_VERSIONS:
            raise exchange.invalid_response("the upstream chose an unknown protocol version")
        self.protocol_version = chosen
        self.server_info = exchange.as_object(result.get("serverInfo"), "serverInfo")
        self.capabilities = exchange.as_object(result.get("capabilities"), "capabilities")
        instructions = result.get("instructions")
        self.instructions = instructions if isinstance(instructions, str) else None

    async def _answer_server(self, request: JsonObject) -> None:
        answer: JsonObject = {"jsonrpc": "2.0", "id": request["id"]}
        if request.get("method") == "ping":
            answer["result"] = {}
        else:
            answer["error"] = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
        try:
            await self._post_and_forget(answer, _SIDE_TIMEOUTS)
        except McpUpstreamError:
            return  # If the upstream needs the answer, the stream fails.

    async def _post_and_forget(
        self, message: JsonObject, timeouts: Timeouts | None = None, *, before_send: BeforeSend | None = None
    ) -> None:
        headers = (*exchange.ACCEPT, *self._session_headers())
        response = await self._endpoint.send("POST", headers, message, before_send, timeouts)
        try:
            if response.status >= 300:
                raise await exchange.failure(response)
            if response.status in (202, 204):
                await response.read()  # Empty: reading to the end keeps the connection.
        except UpstreamError:
            return
        finally:
            response.close()
