"""Shared by the tests of sinks: a log to write to, and a delivery worker without an application."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.keys import Sealer
from app.features.audit.queries import present
from app.features.audit_sinks.deliver import AuditDeliveries
from app.features.audit_sinks.schemas import BearerSinkCredential
from app.features.audit_sinks.service import put_credential
from app.lib.ids import EVENT, format_id, new_id
from app.models.audit import AuditEvent, AuditSink
from app.outbound.http import AddressPolicy, OutboundClient, Timeouts
from tests.api import KEY
from tests.features.webhooks.receiver import Arrived
from tests.settling import settled

LOOPBACK = AddressPolicy((ip_network("127.0.0.0/8"),))
# A receiver that answers nothing costs a test this much; with less, one that answers would be late on a busy machine.
# busy.
IMPATIENT = Timeouts(connect=10.0, first_byte=1.0, idle=1.0, total=5.0)
TOKEN = "receivers-own-secret-token"


@dataclass
class World:
    """A database, and the parts of a delivery worker."""

    sessions: async_sessionmaker[AsyncSession]
    sealer: Sealer
    outbound: OutboundClient

    def worker(self, timeouts: Timeouts = IMPATIENT) -> AuditDeliveries:
        """Create another worker."""
        return AuditDeliveries(self.sessions, self.sealer, self.outbound, timeouts)

    async def sink(self, url: str, **fields: Any) -> UUID:
        """Create a sink for events from now on."""
        async with self.sessions() as session:
            epoch, xact, seq = await present(session)
            values: dict[str, Any] = {
                "name": "sink",
                "url": url,
                "format": "ndjson",
                "epoch": epoch,
                "xact": xact,
                "seq": seq,
            }
            row = AuditSink(**(values | fields))
            put_credential(self.sealer, row, BearerSinkCredential(kind="bearer", token=cast("Any", TOKEN)))
            session.add(row)
            await session.commit()
            return row.id

    async def record(self, times: int = 1, **columns: Any) -> list[str]:
        """Record events in one transaction, readable in order afterwards; return their ids."""
        values: dict[str, Any] = {"action": "tool.call", "actor_type": "identity"} | columns
        rows = [AuditEvent(id=new_id(), **values) for _ in range(times)]
        async with self.sessions() as session:
            session.add_all(rows)
            await session.commit()
        await settled(self.sessions)
        return await self.in_order([row.id for row in rows])

    async def in_order(self, ids: list[UUID] | None = None) -> list[str]:
        """The ids of these events, or of all, in commit order."""
        query = "SELECT id FROM audit_events ORDER BY epoch, xact, seq"
        found = [row.id for row in await self.execute(query)]
        return [format_id(EVENT, id) for id in found if ids is None or id in set(ids)]

    async def execute(self, statement: str, **values: Any) -> list[Any]:
        async with self.sessions() as session:
            result = await session.execute(text(statement), values)
            rows = list(result) if cast("Any", result).returns_rows else []
            await session.commit()
            return rows

    async def read(self, sink_id: UUID) -> AuditSink:
        async with self.sessions() as session:
            return await session.get_one(AuditSink, sink_id)

    async def make_due(self) -> None:
        """Expire the pauses of sinks and the leases of lost workers."""
        await self.execute("UPDATE audit_sinks SET due_at = now(), leased_until = NULL")

    async def given(self, worker: AuditDeliveries | None = None) -> None:
        """Deliver pending events, and wait until the result is recorded."""
        worker = worker or self.worker()
        await self.make_due()
        while await worker.round():
            await worker.idle()


@pytest.fixture
async def world(sessions: async_sessionmaker[AsyncSession]) -> AsyncIterator[World]:
    """Deliveries are made only by the workers of the test."""
    async with OutboundClient(LOOPBACK) as outbound:
        yield World(sessions, Sealer([KEY.encode()]), outbound)


def items_of(request: Arrived) -> list[dict[str, Any]]:
    """The items of a batch in the format ``ndjson``."""
    return [json.loads(line) for line in request.body.splitlines()]


def ids_of(*requests: Arrived) -> list[str]:
    """The ids of the events of batches, one after the other."""
    return [item["id"] for request in requests for item in items_of(request) if "id" in item]
