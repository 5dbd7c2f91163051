"""One attempt to deliver one batch, by the guarded HTTP client; no redirect is followed."""

import asyncio
import gzip
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from app import __version__
from app.features.audit_sinks.batches import Batch
from app.features.audit_sinks.credentials import Header
from app.features.audit_sinks.formats import FORMATS
from app.features.audit_sinks.queue import ClaimedSink
from app.features.webhooks.send import pause_of
from app.outbound.http import ForbiddenUrl, NotForwarded, OutboundClient, Timeouts, UpstreamError

TIMEOUTS = Timeouts(connect=5.0, first_byte=20.0, idle=5.0, total=25.0)
"""Shorter than the lease, including the time to connect."""
_ANSWER_BYTES = 16 * 1024
# Of 9: events of a batch are alike, and a higher level saves little more.
_LEVEL = 6
_ERRORS = frozenset({"resolve", "connect", "tls", "timeout", "closed", "busy"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of an attempt. ``pause_s`` is the pause that the endpoint asks for."""

    status_code: int | None = None
    error: str | None = None
    pause_s: float = 0.0


async def send(
    outbound: OutboundClient,
    claimed: ClaimedSink,
    batch: Batch,
    credential: Sequence[Header],
    timeouts: Timeouts,
    may_send: Callable[[], bool],
) -> Attempt | None:
    """Send a batch once. Only the status code of the response is kept.

    None: nothing was sent, since ``may_send`` returned false once the connection was open.
    """
    headers = [
        (b"Content-Type", FORMATS[claimed.format].media_type),
        (b"User-Agent", f"Scopegate/{__version__}".encode("ascii")),
        (b"Scopegate-Batch-Id", batch.id.encode("ascii")),
        *credential,
    ]
    body = batch.body
    if claimed.compression == "gzip":
        # Compressing a megabyte takes about 20 ms, which must not block others. Without a time, the same batch always
        # has the same bytes.
        body = await asyncio.to_thread(gzip.compress, body, _LEVEL, mtime=0)
        headers.append((b"Content-Encoding", b"gzip"))
    try:
        response = await outbound.request(
            "POST", claimed.url, headers, body, timeouts=timeouts, before_send=may_send
        )
    except ForbiddenUrl:
        return Attempt(error="forbidden_url")
    except NotForwarded:
        return None
    except UpstreamError as error:
        return Attempt(error=error.kind if error.kind in _ERRORS else "protocol")
    with suppress(UpstreamError):
        # Read to the end, so that the connection can be reused; the content does not matter.
        await response.read(_ANSWER_BYTES)
    status = response.status
    if 200 <= status < 300:
        return Attempt(status)
    pause = pause_of(response.header(b"retry-after"), datetime.now(UTC))
    return Attempt(status, "redirect" if 300 <= status < 400 else "status", pause)
