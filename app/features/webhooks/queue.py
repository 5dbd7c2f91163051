"""The queue of messages: any worker claims due messages under a lease, and records the results.

The lease of a lost worker expires, and another worker sends the message: at-least-once delivery. A webhook whose
endpoint keeps failing is paused as a whole, so that its messages do not burden others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Integer, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.webhooks.secrets import live_secrets
from app.lib.ids import new_id
from app.models.webhooks import WebhookSecret

LEASE = timedelta(seconds=60)
"""Longer than an attempt takes."""
AT_ONCE = 4
"""Messages that one worker sends to one webhook at a time; only one to a failing webhook."""
FAILS_FROM = 3
"""Failed attempts in a row after which the webhook is paused."""
KEPT = timedelta(days=30)
_FORGOTTEN_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message claimed by this worker. ``secrets`` are encrypted, newest first."""

    id: UUID
    webhook_id: UUID
    type: str
    data: dict[str, str]
    created_at: datetime
    attempts: int
    url: str
    lease: UUID
    secrets: list[WebhookSecret] = field(repr=False)


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
    ORDER BY random() LIMIT :most
)
UPDATE webhook_deliveries d
SET lease = :lease, due_at = now() + :held, attempts = attempts + 1, attempted_at = now(), updated_at = now(),
    revision = revision + 1
FROM due WHERE d.id = due.id
RETURNING d.id, d.webhook_id, d.type, d.data, d.created_at, d.attempts, due.url
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("counts", type_=ARRAY(Integer)))


async def claim(session: AsyncSession, sending: Mapping[UUID, int], limit: int) -> list[ClaimedMessage]:
    """Claim up to ``limit`` due messages, given the number that this worker is sending to each webhook."""
    lease = new_id()
    bounds = {"most": limit, "held": LEASE, "fails_from": FAILS_FROM, "at_once": AT_ONCE}
    values = {"ids": list(sending), "counts": list(sending.values()), "lease": lease}
    rows = list(await session.execute(_CLAIM, bounds | values))
    if not rows:
        return []
    secrets = await live_secrets(session, [row.webhook_id for row in rows])
    # ``_mapping`` is SQLAlchemy's public name for it.
    return [
        ClaimedMessage(**dict(row._mapping), lease=lease, secrets=secrets.get(row.webhook_id, []))  # noqa: SLF001
        for row in rows
    ]


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


async def record_delivered(session: AsyncSession, claimed: ClaimedMessage, status_code: int) -> None:
    """Record that the endpoint accepted the message, which holds regardless of concurrent changes."""
    # The webhook first, in the lock order of a retry request.
    await session.execute(_WELL, _webhook_parameters(claimed))
    await session.execute(_DELIVERED, {"id": claimed.id, "status_code": status_code})


async def record_failure(
    session: AsyncSession,
    claimed: ClaimedMessage,
    *,
    status_code: int | None,
    error: str,
    delay: timedelta | None,
    pause: timedelta,
) -> None:
    """Record a failed attempt; the next one is after ``delay``, unless that is too late.

    The webhook itself is paused for at least ``pause``.
    """
    values = {"id": claimed.id, "lease": claimed.lease, "status_code": status_code, "error": error}
    await session.execute(_UNWELL, _webhook_parameters(claimed) | {"pause": pause, "fails_from": FAILS_FROM})
    await session.execute(_FAILED, values | {"delay": delay})


def _webhook_parameters(claimed: ClaimedMessage) -> dict[str, Any]:
    # Only if the URL of the webhook is still the one that was called.
    return {"webhook_id": claimed.webhook_id, "url": claimed.url}


_FORGET = text("""
DELETE FROM webhook_deliveries WHERE id = ANY (ARRAY(
    SELECT id FROM webhook_deliveries WHERE id < :before ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
)) RETURNING id
""").bindparams(bindparam("before", type_=Uuid))
_GIVE_UP = text("""
UPDATE webhook_deliveries SET state = 'failed', updated_at = now(), revision = revision + 1
WHERE state = 'pending' AND give_up_at <= now()
""")
_FORGET_SECRETS = text("DELETE FROM webhook_secrets WHERE expires_at < now()")


async def forget(session: AsyncSession, now: datetime) -> bool:
    """Give up messages that could not be delivered in time; delete some old ones, and expired secrets. Return whether
    there may be more to delete."""
    await session.execute(_GIVE_UP)
    # Ids are UUIDv7: the first 48 bits are milliseconds.
    milliseconds = int((now - KEPT).timestamp() * 1000)
    values = {"before": UUID(int=milliseconds << 80), "most": _FORGOTTEN_AT_ONCE}
    deleted = (await session.execute(_FORGET, values)).all()
    await session.execute(_FORGET_SECRETS)
    return len(deleted) == _FORGOTTEN_AT_ONCE
