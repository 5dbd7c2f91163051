"""One delivery attempt to an endpoint that an administrator chose, by the guarded HTTP client.

No redirect is followed, and only the status code of the response is kept.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from random import SystemRandom
from urllib.parse import urlsplit

from app import __version__
from app.domain.errors import FieldError, Invalid
from app.outbound.http import AddressPolicy, ForbiddenUrl, OutboundClient, Timeouts, UpstreamError

MAX_PAUSE_S = 24 * 3600
"""The longest pause that an endpoint can ask for."""
_ANSWER_BYTES = 16 * 1024
_ERRORS = frozenset({"resolve", "connect", "tls", "timeout", "closed", "busy"})
_spread = SystemRandom()


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of an attempt. ``pause_s`` is the pause that the endpoint asks for."""

    status_code: int | None = None
    error: str | None = None
    pause_s: float = 0.0


async def post(
    outbound: OutboundClient,
    url: str,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    timeouts: Timeouts,
    may_send: Callable[[], bool] | None = None,
) -> Attempt:
    """Send a message once. Raises ``NotForwarded`` when ``may_send`` returns false once the connection is open."""
    headers = [(b"User-Agent", f"Scopegate/{__version__}".encode("ascii")), *headers]
    try:
        response = await outbound.request("POST", url, headers, body, timeouts=timeouts, before_send=may_send)
    except ForbiddenUrl:
        return Attempt(error="forbidden_url")
    except UpstreamError as error:
        return Attempt(error=error.kind if error.kind in _ERRORS else "protocol")
    with suppress(UpstreamError):
        # Read to the end, so that the connection can be reused; the content does not matter.
        await response.read(_ANSWER_BYTES)
    status = response.status
    if 200 <= status < 300:
        return Attempt(status)
    pause = pause_of(response.header(b"retry-after"), datetime.now(UTC))  # noqa: TID251 - the receiver's time
    return Attempt(status, "redirect" if 300 <= status < 400 else "status", pause)


def pause_of(retry_after: bytes | None, now: datetime) -> float:
    """The seconds in ``Retry-After`` (RFC 9110, 10.2.3), from a number or a date; 0 for neither."""
    text = (retry_after or b"").decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        # The number may have any number of digits, so only the first ones are parsed.
        return float(min(int(text[:9]), MAX_PAUSE_S))
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), MAX_PAUSE_S)


def spread_pause(pause: timedelta, asked_s: float) -> timedelta:
    """A pause before the next attempt, at least as long as the endpoint asks for. It is randomized, so that attempts
    that failed together are not repeated together."""
    return max(pause * _spread.uniform(1.0, 1.2), timedelta(seconds=asked_s))


def check_destination(policy: AddressPolicy, url: str, what: str) -> None:
    """Require TLS or an allowed network, since ``what`` is sent out of the deployment. Raises ``Invalid``."""
    reason = f"{what} sent over http only to an address of an allowed network"
    try:
        origin = policy.check_url(url)
        if origin.scheme == "https" or policy.is_allowed_network(origin):
            return
    except ForbiddenUrl as error:
        reason = error.reason
    detail = f"{reason[:1].upper()}{reason[1:]}. Private addresses need SCOPEGATE_UPSTREAM_ALLOWED_NETWORKS."
    raise Invalid(detail, code="forbidden_url", errors=[FieldError("/url", "forbidden_url", detail)])


def shown_origin(url: str) -> str:
    """The part of a URL that the audit log may keep: the paths of some receivers are secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
