"""Sessions of the MCP versions that begin with ``initialize``."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from math import inf
from time import monotonic
from typing import Self

from mcp_types.jsonrpc import METHOD_NOT_FOUND
from mcp_types.version import (
    HANDSHAKE_PROTOCOL_VERSIONS,
    LATEST_HANDSHAKE_VERSION,
    is_version_at_least,
)

from app.lib.strict_json import JsonObject
from app.outbound.http import NotForwarded, OutboundClient, OutboundResponse, Target, Timeouts, UpstreamError
from app.outbound.mcp.connection import (
    DEFAULT_MAX_BYTES,
    DEFAULT_TIMEOUTS,
    VERSION_HEADER,
    BeforeSend,
    Connection,
    client_info,
)
from app.outbound.mcp.exchange import (
    ACCEPT,
    Headers,
    Item,
    McpUpstreamError,
    Result,
    ResumePoint,
    as_object,
    check_stream,
    failure,
    items,
    notifications,
)

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
        self.run_in_background: RunInBackground | None = None

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
        before_next: BeforeSend | None = None,
        caller: int | None = None,
    ) -> Self:
        """Send ``initialize`` with ``version`` (the upstream may choose an older one) and
        ``notifications/initialized``.

        ``before_send`` guards the first and ``before_next`` the second. For ``caller``, see ``OutboundClient.request``.
        Raises as ``stream`` does.
        """
        session = cls(client, url, headers, timeouts=timeouts, max_bytes=max_bytes, caller=caller)
        params: JsonObject = {
            "protocolVersion": version,
            "capabilities": client_capabilities or {},
            "clientInfo": client_info(),
        }
        try:
            result = await session.request("initialize", params, before_send=before_send)
            session._accept_negotiation(result)
            await session.notify("notifications/initialized", before_send=before_next)
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
        headers = (*ACCEPT, *self._session_headers(), *extra_headers)
        answered = method == "initialize"  # It must not be cancelled.
        resume = partial(self._resume, before_next, self._deadline())
        try:
            response = await self._endpoint.send("POST", headers, message, before_send)
            try:
                self._check_session(method, response)
                stream = items(
                    response, request_id, max_bytes or self._endpoint.max_bytes, self._answer_server, resume
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

    def _deadline(self) -> float:
        total = self._endpoint.timeouts.total
        return inf if total is None else monotonic() + total

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
            await check_stream(response)
        except BaseException:
            response.close()
            raise
        return response

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
        """See ``Connection.listen``. Yields all notifications to this session."""
        headers = ((b"Accept", b"text/event-stream"), *self._session_headers())
        response = await self._endpoint.send("GET", headers, None, before_send, timeouts)
        async with aclosing(notifications(response, self._answer_server)) as messages:
            async for message in messages:
                yield message

    async def notify(
        self, method: str, params: JsonObject | None = None, *, before_send: BeforeSend | None = None
    ) -> None:
        """Send a notification such as ``notifications/cancelled``. Raises ``McpUpstreamError`` and ``NotForwarded``."""
        message: JsonObject = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        await self._post_and_forget(message, before_send=before_send)

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
        if is_version_at_least(self.protocol_version, "2025-06-18"):
            headers = (*headers, (VERSION_HEADER, self.protocol_version.encode("ascii")))
        return headers

    def _take_session_id(self, value: bytes | None) -> None:
        if value is not None:
            if not _SESSION_ID.fullmatch(value):
                raise McpUpstreamError("invalid_response", "the session id is not valid")
            self.session_id = value.decode("ascii")

    def _accept_negotiation(self, result: JsonObject) -> None:
        chosen = result.get("protocolVersion")
        if not isinstance(chosen, str) or chosen not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise McpUpstreamError("invalid_response", "the upstream chose an unknown protocol version")
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
            await self._post_and_forget(answer, _SIDE_TIMEOUTS)
        except McpUpstreamError:
            return  # If the upstream needs the answer, the stream fails.

    async def _post_and_forget(
        self, message: JsonObject, timeouts: Timeouts | None = None, *, before_send: BeforeSend | None = None
    ) -> None:
        headers = (*ACCEPT, *self._session_headers())
        response = await self._endpoint.send("POST", headers, message, before_send, timeouts)
        try:
            if response.status >= 300:
                raise await failure(response)
            if response.status in (202, 204):
                await response.read()  # Empty: reading to the end keeps the connection.
        except UpstreamError:
            return
        finally:
            response.close()
