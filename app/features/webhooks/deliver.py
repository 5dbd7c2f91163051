"""Deliver webhook messages: a few at a time per webhook, each newly signed, at least once.

A webhook whose endpoint keeps failing is paused as a whole, so that its messages do not burden others.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Integer, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from standardwebhooks import Webhook as Signer

from app.crypto.keys import Sealer, UnsealingFault
from app.db import rows
from app.db.change import Change
from app.db.clock import transaction_time
from app.db.jobs import LeasedQueue, Periodic
from app.db.webhook_events import message_url
from app.features.webhooks.service import WEBHOOK, live_secrets, open_secrets
from app.http.authorization import Caller, Role
from app.lib.ids import DELIVERY, format_id, new_id
from app.models.webhooks import Webhook, WebhookSecret
from app.outbound.delivery import Attempt, post, spread_pause
from app.outbound.http import OutboundClient, Timeouts

SYSTEM = Caller.system(Role.ADMIN)
TIMEOUTS = Timeouts(connect=5.0, first_byte=15.0, idle=5.0, total=20.0)
LEASE = timedelta(seconds=60)
"""Longer than an attempt takes."""
AT_ONCE = 4
"""Messages that one worker sends to one webhook at a time; only one to a failing webhook."""
FAILS_FROM = 3
"""Failed attempts in a row after which the webhook is paused."""
MAX_MESSAGES = 64
"""Messages that one worker sends at a time."""
_DELAYS_S = (5, 30, 2 * 60, 10 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 12 * 3600)
DELAYS = tuple(timedelta(seconds=each) for each in _DELAYS_S)
"""The pauses between attempts; the last one repeats, for three days in all."""
KEPT = timedelta(days=30)
_DELETED_AT_ONCE = 1000
_BETWEEN_DELETIONS_S = 1.0
_GONE = 410

_CLAIM = text("""
WITH due AS (
    SELECT d.id, w.url FROM webhooks w LEFT JOIN unnest(:ids, :counts) AS sending (id, count) ON sending.id = w.id
    CROSS JOIN LATERAL (
        SELECT id FROM webhook_deliveries
        WHERE webhook_id = w.id AND state = 'pending' AND due_at <= now() AND give_up_at > now()
        ORDER BY due_at
        LIMIT greatest(CASE WHEN w.failures >= :fails_from THEN 1 ELSE :at_once END - coalesce(sending.count, 0), 0)
        FOR UPDATE SKIP LOCKED
    ) d
    WHERE w.status = 'active' AND w.ended_at IS NULL AND coalesce(w.held_until, now()) <= now()
    -- A random order, to avoid starvation.
    ORDER BY random() LIMIT :limit
)
UPDATE webhook_deliveries d
SET lease = :lease, due_at = now() + :held, attempts = attempts + 1, attempted_at = now(), updated_at = now(),
    revision = revision + 1
FROM due WHERE d.id = due.id
RETURNING d.id, d.webhook_id, d.type, d.data, d.created_at, d.attempted_at, d.attempts, due.url
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("counts", type_=ARRAY(Integer)))
_DELIVERED = text("""
UPDATE webhook_deliveries
SET state = 'delivered', delivered_at = now(), lease = NULL, status_code = :status_code, error = NULL,
    updated_at = now(), revision = revision + 1
WHERE id = :id AND state <> 'delivered'
""")
_WELL = text("""
UPDATE webhooks SET failures = 0, failing_since = NULL, held_until = NULL, delivered_at = now()
WHERE id = :webhook_id AND url = :url
    AND (failures > 0 OR delivered_at IS NULL OR delivered_at < now() - interval '1 minute')
""")
# A retry request in between has taken the lease away.
_FAILED = text("""
UPDATE webhook_deliveries
SET state = CASE WHEN now() + CAST(:delay AS interval) < give_up_at THEN 'pending' ELSE 'failed' END,
    due_at = now() + coalesce(CAST(:delay AS interval), interval '0'), lease = NULL, status_code = :status_code,
    error = :error, updated_at = now(), revision = revision + 1
WHERE id = :id AND lease = :lease AND state = 'pending'
""")
_UNWELL = text("""
UPDATE webhooks
SET failures = failures + 1, failing_since = coalesce(failing_since, now()),
    held_until = greatest(held_until, now() + greatest(nullif(:pause, interval '0'),
        CASE WHEN failures + 1 >= :fails_from
        THEN least(interval '5 seconds' * 2 ^ least(failures + 1 - :fails_from, 10), interval '5 minutes') END))
WHERE id = :webhook_id AND url = :url
""")
_GIVE_UP = text("""
UPDATE webhook_deliveries SET state = 'failed', updated_at = now(), revision = revision + 1
WHERE state = 'pending' AND give_up_at <= now()
""")
_DELETE_OLD = text("""
DELETE FROM webhook_deliveries WHERE id = ANY (ARRAY(
    SELECT id FROM webhook_deliveries WHERE id < :before ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
)) RETURNING id
""").bindparams(bindparam("before", type_=Uuid))
_DELETE_SECRETS = text("DELETE FROM webhook_secrets WHERE expires_at < now()")


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message claimed by this worker. ``secrets`` are encrypted, newest first."""

    id: UUID
    webhook_id: UUID
    type: str
    data: dict[str, str]
    created_at: datetime
    attempted_at: datetime
    attempts: int
    url: str
    lease: UUID
    secrets: list[WebhookSecret] = field(repr=False)


class Deliveries(LeasedQueue[ClaimedMessage]):
    """The delivery of messages by one worker."""

    name = "looking for deliveries"
    every_s = 1.0
    max_items = MAX_MESSAGES

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        sealer: Sealer,
        outbound: OutboundClient,
        public_url: str,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        super().__init__(sessions)
        self._sealer, self._outbound, self._timeouts = sealer, outbound, timeouts
        self._public_url = public_url

    def label(self, item: ClaimedMessage) -> str:
        return f"the delivery {format_id(DELIVERY, item.id)}"

    async def claim(
        self, session: AsyncSession, limit: int, current: Collection[ClaimedMessage]
    ) -> list[ClaimedMessage]:
        return await claim(session, Counter(item.webhook_id for item in current), limit)

    async def work(self, item: ClaimedMessage) -> None:
        attempt = await self._attempt(item)
        # failpoint: before_noting
        async with self.transaction() as session:
            await record_result(session, item, attempt)

    async def _attempt(self, item: ClaimedMessage) -> Attempt:
        """Send a message once, with only ids and a link: the same body at each attempt."""
        secrets: list[str] = []
        with suppress(UnsealingFault):
            secrets = open_secrets(self._sealer, item.secrets)
        # Without secrets, they cannot be decrypted or the webhook has just ended; an unsigned message is never sent.
        if not secrets:
            return Attempt(error="decryption_failed")
        link = message_url(item.type, item.data, self._public_url)
        data = item.data if link is None else item.data | {"url": link}
        happened = item.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body = json.dumps({"type": item.type, "timestamp": happened, "data": data}, separators=(",", ":"))
        headers = signed_headers(item, body, secrets, item.attempted_at)
        attempt = await post(self._outbound, item.url, headers, body.encode(), self._timeouts)
        return replace(attempt, error="gone", pause_s=0.0) if attempt.status_code == _GONE else attempt


class DeliveryRetention(Periodic):
    """Gives up messages that could not be delivered in time, and deletes old ones."""

    name = "deleting old deliveries"
    every_s = 600.0
    first_s = 1.0

    async def round(self) -> None:
        while True:
            async with self._sessions() as session:
                more = await forget(session, await transaction_time(session))
                await session.commit()
            if not more:
                return
            await asyncio.sleep(_BETWEEN_DELETIONS_S)


async def claim(session: AsyncSession, sending: Mapping[UUID, int], limit: int) -> list[ClaimedMessage]:
    """Claim up to ``limit`` due messages, given the number that this worker is sending to each webhook."""
    lease = new_id()
    bounds = {"limit": limit, "held": LEASE, "fails_from": FAILS_FROM, "at_once": AT_ONCE}
    values = {"ids": list(sending), "counts": list(sending.values()), "lease": lease}
    claimed = (await session.execute(_CLAIM, bounds | values)).mappings().all()
    secrets = await live_secrets(session, [row["webhook_id"] for row in claimed]) if claimed else {}
    return [ClaimedMessage(**row, lease=lease, secrets=secrets.get(row["webhook_id"], [])) for row in claimed]


def signed_headers(
    message: ClaimedMessage, body: str, secrets: Sequence[str], now: datetime
) -> list[tuple[bytes, bytes]]:
    """The headers of the message, with a signature by each live secret."""
    id = format_id(DELIVERY, message.id)
    # Whole seconds, since the header is what is signed.
    now = now.replace(microsecond=0)
    signatures = " ".join(Signer(secret).sign(id, now, body) for secret in secrets)
    return [
        (b"Content-Type", b"application/json"),
        (b"webhook-id", id.encode("ascii")),
        (b"webhook-timestamp", str(int(now.timestamp())).encode("ascii")),
        (b"webhook-signature", signatures.encode("ascii")),
    ]


async def record_result(session: AsyncSession, message: ClaimedMessage, attempt: Attempt) -> None:
    """Record the result of an attempt, and its consequences.

    That the endpoint accepted the message holds regardless of concurrent changes. After a failure, the next attempt is
    after a pause, unless that is too late; the webhook itself is paused for at least as long as its endpoint asks.
    """
    # Only if the URL of the webhook is still the one that was called. It comes first, in the lock order of a retry
    # request.
    webhook = {"webhook_id": message.webhook_id, "url": message.url}
    result: dict[str, Any] = {"id": message.id, "status_code": attempt.status_code}
    if attempt.error is None and attempt.status_code is not None:
        await session.execute(_WELL, webhook)
        await session.execute(_DELIVERED, result)
        return
    error = attempt.error or "protocol"
    pause = timedelta(seconds=attempt.pause_s)
    delay = None if error == "gone" else delay_after(message.attempts, attempt.pause_s)
    # The webhook is locked before the delivery, even where its URL has changed since.
    row = await rows.lock(session, Webhook, message.webhook_id) if error == "gone" else None
    await session.execute(_UNWELL, webhook | {"pause": pause, "fails_from": FAILS_FROM})
    await session.execute(_FAILED, result | {"lease": message.lease, "error": error, "delay": delay})
    # Its endpoint asks never to be called again.
    if row is not None and row.ended_at is None and row.url == message.url and row.status == "active":
        before = WEBHOOK.values(row)
        row.status, row.disabled_reason = "disabled", "gone"
        row.revision += 1
        change = await Change.begin(session, SYSTEM)
        change.record("webhook.update", WEBHOOK, before, row, details={"disabled_reason": "gone"})


def delay_after(attempts: int, pause_s: float = 0.0) -> timedelta:
    """The pause before the next attempt, after this many attempts."""
    return spread_pause(DELAYS[min(attempts, len(DELAYS)) - 1], pause_s)


async def forget(session: AsyncSession, now: datetime) -> bool:
    """Give up messages that could not be delivered in time; delete some old ones, and expired secrets. Return whether
    there may be more to delete."""
    await session.execute(_GIVE_UP)
    # Ids are UUIDv7: the first 48 bits are milliseconds.
    milliseconds = int((now - KEPT).timestamp() * 1000)
    values = {"before": UUID(int=milliseconds << 80), "limit": _DELETED_AT_ONCE}
    deleted = (await session.execute(_DELETE_OLD, values)).all()
    await session.execute(_DELETE_SECRETS)
    return len(deleted) == _DELETED_AT_ONCE
