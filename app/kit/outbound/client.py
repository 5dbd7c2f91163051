"""The one HTTP client for every request that leaves the process."""

import ssl
from collections.abc import Callable, Sequence

from app.kit.outbound.guard import AddressPolicy, Target
from app.kit.outbound.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS, Limits, Timeouts
from app.kit.outbound.response import OutboundResponse


class OutboundClient:
    """Guarded HTTP/1.1 with keep-alive. One per event loop; close with ``aclose``."""

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        limits: Limits = DEFAULT_LIMITS,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        raise NotImplementedError

    async def request(
        self,
        method: str,
        url: str | Target,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        before_send: Callable[[], bool] | None = None,
    ) -> OutboundResponse:
        """Send one request and return when the headers of its answer are there.

        ``url``: a string, or (faster) a ``Target`` from ``AddressPolicy.check_target``. ``Host``, ``Content-Length``,
        ``Connection`` and ``Accept-Encoding`` are ours: a caller that passes one gets ``ValueError``, as for CR, LF or
        NUL in a header. Redirects are answers like any other. ``before_send`` is asked when the connection is ready and
        nothing has been written yet. The caller must read the answer to its end or ``close()`` it. Cancelling
        this call aborts the connection.

        Raises ``ForbiddenUrl``, ``NotForwarded``, ``UpstreamError``.
        """
        raise NotImplementedError

    async def aclose(self) -> None:
        """Abort every connection."""
        raise NotImplementedError
