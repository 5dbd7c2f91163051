"""What a way to an upstream is, in either era."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Self

from mcp.shared.inbound import (
    MCP_PROTOCOL_VERSION_HEADER,
)

from app import __version__
from app.lib.strict_json import JsonObject
from app.outbound.http import OutboundClient, Target, Timeouts
from app.outbound.mcp.errors import McpUpstreamError
from app.outbound.mcp.exchange import Endpoint, Headers, Item, Result

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
