"""One attempt to deliver one batch, by the guarded client; no redirect is followed."""

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
from app.features.audit_sinks.queue import Claimed
from app.features.webhooks.send import pause_of
from app.outbound.http import ForbiddenUrl, NotForwarded, OutboundClient, Timeouts, UpstreamError

TIMEOUTS = Timeouts(connect=5.0, first_byte=20.0, idle=5.0, total=25.0)
"""Connecting included, less than the lease of whoever sends."""
_ANSWER_BYTES = 16 * 1024
# Of 9: events of a batch are much alike, and what more effort saves of them is little.
_LEVEL = 6
_ERRORS = frozenset({"resolve", "connect", "tls", "timeout", "closed", "busy"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt went. ``pause_s`` is for how long the endpoint asks to be left alone."""

    status_code: int | None = None
    error: str | None = None
    pause_s: float = 0.0


async def send(
    outbound: OutboundClient,
    claimed: Claimed,
    batch: Batch,
    credential: Sequence[Header],
    timeouts: Timeouts,
    may_send: Callable[[], bool],
) -> Attempt | None:
    """Send a batch once. What the endpoint answers beyond its status is nobody's business, and kept nowhere.

    None: nothing was sent, since ``may_send`` said no when the connection was there.
    """
    headers = [
        (b"Content-Type", FORMATS[claimed.format].media_type),
        (b"User-Agent", f"Scopegate/{__version__}".encode("ascii")),
        (b"Scopegate-Batch-Id", batch.id.encode("ascii")),
        *credential,
    ]
    body = batch.body
    if claimed.compression == "gzip":
        # A megabyte takes some twenty milliseconds, in which nobody else is kept waiting. Without the time of day, the
        # same batch is the same bytes whenever it is sent.
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
        # To its end, so that the connection may be used again; it has said all that counts.
        await response.read(_ANSWER_BYTES)
    status = response.status
    if 200 <= status < 300:
        return Attempt(status)
    pause = pause_of(response.header(b"retry-after"), datetime.now(UTC))
    return Attempt(status, "redirect" if 300 <= status < 400 else "status", pause)
