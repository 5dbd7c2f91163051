"""One caller's way to one upstream, in either era."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from app.kit.outbound import OutboundClient, Target, Timeouts
from app.kit.strict_json import JsonObject

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification that came before the result; ``message`` is the whole JSON-RPC object."""

    message: JsonObject


@dataclass(frozen=True, slots=True)
class Result:
    """The ``result`` of the answer, always the last item of a stream."""

    result: JsonObject


class LegacySession:
    """A session of 2024-11-05 to 2025-11-25. ``async with`` or ``close`` ends it at the upstream."""

    protocol_version: str
    session_id: str | None
    server_info: JsonObject
    capabilities: JsonObject
    instructions: str | None

    @classmethod
    async def open(
        cls,
        client: OutboundClient,
        url: str | Target,
        headers: Headers,
        *,
        version: str = "2025-11-25",
        timeouts: Timeouts = Timeouts(),
        before_send: Callable[[], bool] | None = None,
    ) -> "LegacySession":
        """``initialize`` and ``notifications/initialized``. ``before_send`` guards the initialize."""
        raise NotImplementedError

    async def request(
        self,
        method: str,
        params: JsonObject | None = None,
        *,
        before_send: Callable[[], bool] | None = None,
        extra_headers: Headers = (),
    ) -> JsonObject:
        """The result; notifications on the way are dropped. Raises ``McpUpstreamError``, ``NotForwarded``."""
        raise NotImplementedError

    def stream(
        self,
        method: str,
        params: JsonObject | None = None,
        *,
        before_send: Callable[[], bool] | None = None,
        extra_headers: Headers = (),
    ) -> AsyncIterator[Notification | Result]:
        """Notifications as they come, the result last. Leaving early cuts the upstream request."""
        raise NotImplementedError

    async def notify(self, method: str, params: JsonObject | None = None) -> None:
        """Send a notification (``notifications/cancelled``)."""
        raise NotImplementedError

    async def close(self) -> None:
        """DELETE the session; never raises ``McpUpstreamError``."""
        raise NotImplementedError


class ModernConnection:
    """2026-07-28, stateless: same ``request``, ``stream`` and ``close`` as ``LegacySession``.

    Constructor: ``ModernConnection(client, url, headers, *, version=..., client_info=None, client_capabilities=None)``.
    ``params`` are given without the ``_meta`` envelope; other ``_meta`` members are kept.
    """


async def open_connection(
    client: OutboundClient, url: str | Target, headers: Headers, protocol_versions: tuple[str, ...]
) -> LegacySession | ModernConnection:
    """Modern where ``protocol_versions`` (of a probe) has it, else a new legacy session of the newest."""
    raise NotImplementedError
