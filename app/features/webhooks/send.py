"""One attempt to deliver one message: newly signed, by the guarded HTTP client; no redirect is followed."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from standardwebhooks import Webhook as Signer

from app import __version__
from app.db.webhook_events import message_url
from app.features.webhooks.queue import ClaimedMessage
from app.lib.ids import DELIVERY, format_id
from app.outbound.http import ForbiddenUrl, OutboundClient, OutboundResponse, Timeouts, UpstreamError

TIMEOUTS = Timeouts(connect=5.0, first_byte=15.0, idle=5.0, total=20.0)
MAX_PAUSE_S = 24 * 3600
_ANSWER_BYTES = 16 * 1024
_ERRORS = frozenset({"resolve", "connect", "tls", "timeout", "closed", "busy"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of an attempt. ``pause_s`` is the pause that the endpoint asks for."""

    status_code: int | None = None
    error: str | None = None
    pause_s: float = 0.0


def body_of(claimed: ClaimedMessage, public_url: str) -> str:
    """The message body, with only ids and a link: the same bytes at each attempt."""
    link = message_url(claimed.type, claimed.data, public_url)
    data = claimed.data if link is None else claimed.data | {"url": link}
    happened = claimed.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message = {"type": claimed.type, "timestamp": happened, "data": data}
    return json.dumps(message, separators=(",", ":"))


def signed_headers(
    claimed: ClaimedMessage, body: str, secrets: Sequence[str], now: datetime
) -> list[tuple[bytes, bytes]]:
    """The headers of the message, with a signature by each live secret."""
    id = format_id(DELIVERY, claimed.id)
    # Whole seconds, since the header is what is signed.
    now = now.replace(microsecond=0)
    signatures = " ".join(Signer(secret).sign(id, now, body) for secret in secrets)
    return [
        (b"Content-Type", b"application/json"),
        (b"User-Agent", f"Scopegate/{__version__}".encode("ascii")),
        (b"webhook-id", id.encode("ascii")),
        (b"webhook-timestamp", str(int(now.timestamp())).encode("ascii")),
        (b"webhook-signature", signatures.encode("ascii")),
    ]


async def send(
    outbound: OutboundClient,
    claimed: ClaimedMessage,
    secrets: Sequence[str],
    public_url: str,
    timeouts: Timeouts = TIMEOUTS,
) -> Attempt:
    """Send a message once. Only the status code of the response is kept."""
    now, body = datetime.now(UTC), body_of(claimed, public_url)
    headers = signed_headers(claimed, body, secrets, now)
    try:
        response = await outbound.request("POST", claimed.url, headers, body.encode(), timeouts=timeouts)
    except ForbiddenUrl:
        return Attempt(error="forbidden_url")
    except UpstreamError as error:
        return Attempt(error=error.kind if error.kind in _ERRORS else "protocol")
    with suppress(UpstreamError):
        # Read to the end, so that the connection can be reused; the content does not matter.
        await response.read(_ANSWER_BYTES)
    return _attempt_of(response, now)


def _attempt_of(response: OutboundResponse, now: datetime) -> Attempt:
    status = response.status
    if 200 <= status < 300:
        return Attempt(status)
    if status == 410:
        return Attempt(status, "gone")
    pause = pause_of(response.header(b"retry-after"), now)
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
