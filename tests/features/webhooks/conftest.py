"""Shared by the tests of webhooks: a delivery worker without an application."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from app.crypto.keys import Sealer
from app.db.webhook_events import Message, WebhookEvent, enqueue
from app.features.webhooks.deliver import Deliveries
from app.features.webhooks.service import add_secret
from app.lib.ids import new_id
from app.models.webhooks import Webhook, WebhookDelivery
from app.outbound.http import AddressPolicy, OutboundClient, Timeouts
from tests.api import KEY

PUBLIC_URL = "https://gate.example.com"
ASKED = WebhookEvent.APPROVAL_REQUESTED
LOOPBACK = AddressPolicy((ip_network("127.0.0.0/8"),))
# A receiver that answers nothing costs a test this much; with less, one that answers would be late on a busy machine.
IMPATIENT = Timeouts(connect=10.0, first_byte=1.0, idle=1.0, total=5.0)


@dataclass
class World:
    """A database, and the parts of a delivery worker."""

    sessions: async_sessionmaker[AsyncSession]
    sealer: Sealer
    outbound: OutboundClient

    def worker(self, timeouts: Timeouts = IMPATIENT) -> Deliveries:
        """Create another worker."""
        return Deliveries(self.sessions, self.sealer, self.outbound, PUBLIC_URL, timeouts)

    async def webhook(self, url: str, events: tuple[str, ...] = (ASKED.value,)) -> tuple[UUID, str]:
        """Create a webhook; return it with its signing secret."""
        async with self.sessions() as session:
            row = Webhook(name="hook", url=url, events=list(events))
            session.add(row)
            secret = add_secret(session, self.sealer, row.id)
            await session.commit()
            return row.id, secret

    async def tell(self, times: int = 1) -> None:
        """Enqueue messages about approval requests."""
        async with self.sessions() as session:
            await enqueue(session, *(Message(ASKED.value, {"approval_id": new_id()}) for _ in range(times)))
            await session.commit()

    async def make_due(self) -> None:
        """Expire the pauses of deliveries and webhooks."""
        await self.execute("UPDATE webhook_deliveries SET due_at = now() WHERE state = 'pending'")
        await self.execute("UPDATE webhooks SET held_until = NULL")

    async def execute(self, statement: str, **values: Any) -> list[Any]:
        async with self.sessions() as session:
            result = await session.execute(text(statement), values)
            rows = list(result) if cast("Any", result).returns_rows else []
            await session.commit()
            return rows

    async def deliveries(self) -> list[WebhookDelivery]:
        """All deliveries, in the order of their messages."""
        async with self.sessions() as session:
            return [
                await session.get_one(WebhookDelivery, row.id)
                for row in await session.execute(text("SELECT id FROM webhook_deliveries ORDER BY id"))
            ]

    async def read(self, webhook_id: UUID) -> Webhook:
        async with self.sessions() as session:
            return await session.get_one(Webhook, webhook_id)

    async def delivered(self, worker: Deliveries | None = None) -> None:
        """Send due messages, and wait until the results are recorded."""
        worker = worker or self.worker()
        # A worker at its limit claims nothing, and is not done.
        await worker.idle()
        while await worker.round():
            await worker.idle()


@pytest.fixture
async def world(sessions: async_sessionmaker[AsyncSession]) -> AsyncIterator[World]:
    """Messages are delivered only by the workers of the test."""
    async with OutboundClient(LOOPBACK) as outbound:
        yield World(sessions, Sealer([KEY.encode()]), outbound)


def connections_in_use(sessions: async_sessionmaker[AsyncSession]) -> int:
    """The number of used connections of the pool."""
    engine = cast("AsyncEngine", sessions.kw["bind"])
    return int(cast("Any", engine.pool).checkedout())
