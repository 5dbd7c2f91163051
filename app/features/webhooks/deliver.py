"""Deliver webhook messages: each worker claims due messages, a few at a time per webhook, and holds no database
connection while it sends."""

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import SystemRandom
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.crypto.keys import Sealer, UnsealingFault
from app.db.engine import CONNECTION_ERRORS
from app.domain.errors import Unavailable
from app.features.audit.record import record
from app.features.webhooks.queue import ClaimedMessage, claim, forget, record_delivered, record_failure
from app.features.webhooks.secrets import open_secrets
from app.features.webhooks.send import TIMEOUTS, Attempt, send
from app.features.webhooks.service import KIND
from app.http.authorization import Caller, Role
from app.lib.ids import DELIVERY, format_id
from app.lib.logs import log_fault
from app.models.webhooks import Webhook
from app.outbound.http import OutboundClient, Timeouts

_log = logging.getLogger(__name__)
SYSTEM = Caller("system", UUID(int=0), frozenset({Role.ADMIN}))
DELAYS = (
    *(timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10)),
    *(
        timedelta(minutes=30),
        timedelta(hours=2),
        timedelta(hours=5),
        timedelta(hours=10),
        timedelta(hours=12),
    ),
)
"""The pauses between attempts; the last one repeats, for three days in all."""
MAX_MESSAGES = 64
"""Messages that one worker sends at a time."""
_LOOK_EVERY_S = 1.0
_FORGET_EVERY_S = 600.0
# Recording results must not take the database connections of requests.
_CONNECTIONS = 2
# Only outages: another database error, such as a missing permission, does not end by itself.
_AWAY = (Unavailable, *CONNECTION_ERRORS)
_spread = SystemRandom()


class Deliveries:
    """The delivery task of one worker."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        sealer: Sealer,
        outbound: OutboundClient,
        public_url: str,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self._sessions = sessions
        self._sealer = sealer
        self._outbound = outbound
        self._public_url = public_url
        self._timeouts = timeouts
        self._sending: set[asyncio.Task[None]] = set()
        self._at: Counter[UUID] = Counter()
        self._wake = asyncio.Event()
        self._connections = asyncio.Semaphore(_CONNECTIONS)

    async def run(self) -> None:
        """Deliver until cancelled. A message in transfer is sent again when its lease expires."""
        forgotten, more = 0.0, False
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._look()
                try:
                    await self.round()
                    if more or loop.time() - forgotten > _FORGET_EVERY_S:
                        forgotten = loop.time()
                        more = await self._forget()
                except Exception as error:  # noqa: BLE001
                    # No error may end the loop.
                    log_fault(_log, "looking for deliveries", error)
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)

    async def _look(self) -> None:
        """Wait until the next poll, or until there is room again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY_S * _spread.uniform(0.5, 1.0)):
                await self._wake.wait()
        self._wake.clear()

    async def round(self) -> int:
        """Start sending due messages, as far as there is room; return their number."""
        room = MAX_MESSAGES - len(self._sending)
        if room <= 0:
            return 0
        try:
            async with self._connections, self._sessions() as session:
                claimed = await claim(session, self._at, room)
                await session.commit()
        except _AWAY:
            # Others report that the database is unavailable; due messages stay.
            return 0
        for one in claimed:
            self._at[one.webhook_id] += 1
            task = asyncio.create_task(self._deliver(one), name="webhook delivery")
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return len(claimed)

    async def idle(self) -> None:
        """Wait until no message is being sent."""
        while self._sending:
            await asyncio.wait(self._sending)

    async def _deliver(self, claimed: ClaimedMessage) -> None:
        try:
            attempt = await self._attempt(claimed)
            # failpoint: before_noting
            async with self._connections, self._sessions() as session:
                await record_result(session, claimed, attempt)
                await session.commit()
        except _AWAY:
            # Perhaps sent, but not recorded: it is sent again when its lease expires.
            return
        except Exception as error:  # noqa: BLE001
            # A bug, since an attempt has a result for any behavior of the endpoint. No caller awaits this task, so the
            # error would go unnoticed; the message is sent again when its lease expires.
            log_fault(_log, f"the delivery {format_id(DELIVERY, claimed.id)}", error)
        finally:
            self._at[claimed.webhook_id] -= 1
            if not self._at[claimed.webhook_id]:
                del self._at[claimed.webhook_id]
            self._wake.set()

    async def _attempt(self, claimed: ClaimedMessage) -> Attempt:
        try:
            secrets = open_secrets(self._sealer, claimed.secrets)
        except UnsealingFault:
            return Attempt(error="decryption_failed")
        if not secrets:
            # Its webhook has just ended; an unsigned message is never sent.
            return Attempt(error="decryption_failed")
        return await send(self._outbound, claimed, secrets, self._public_url, self._timeouts)

    async def _forget(self) -> bool:
        """Delete old messages; return whether there are more."""
        try:
            async with self._connections, self._sessions() as session:
                more = await forget(session, datetime.now(UTC))
                await session.commit()
                return more
        except _AWAY:
            return False


async def record_result(session: AsyncSession, claimed: ClaimedMessage, attempt: Attempt) -> None:
    """Record the result of an attempt, and its consequences."""
    if attempt.error is None and attempt.status_code is not None:
        await record_delivered(session, claimed, attempt.status_code)
        return
    error = attempt.error or "protocol"
    delay = None if error == "gone" else delay_after(claimed.attempts, attempt.pause_s)
    await record_failure(
        session,
        claimed,
        status_code=attempt.status_code,
        error=error,
        delay=delay,
        pause=timedelta(seconds=attempt.pause_s),
    )
    if error == "gone":
        await _disable(session, claimed)


def delay_after(attempts: int, pause_s: float = 0.0) -> timedelta:
    """The pause before the next attempt, after this many attempts.

    It is randomized, so that messages that failed together are not retried together, and respects the pause that the
    endpoint asks for.
    """
    return max(DELAYS[min(attempts, len(DELAYS)) - 1] * _spread.uniform(1.0, 1.2), timedelta(seconds=pause_s))


async def _disable(session: AsyncSession, claimed: ClaimedMessage) -> None:
    """Disable a webhook whose endpoint asks never to be called again."""
    disabled = (
        update(Webhook)
        .where(
            col(Webhook.id) == claimed.webhook_id,
            col(Webhook.url) == claimed.url,
            col(Webhook.status) == "active",
            col(Webhook.ended_at).is_(None),
        )
        .values(status="disabled", disabled_reason="gone", revision=col(Webhook.revision) + 1)
        .returning(col(Webhook.id))
    )
    if (await session.execute(disabled)).first() is not None:
        changes = {"status": {"from": "active", "to": "disabled"}, "disabled_reason": "gone"}
        await record(session, SYSTEM, "webhook.update", KIND, claimed.webhook_id, changes=changes)
