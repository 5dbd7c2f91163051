"""Helpers for consuming admissions: demands, and a running writer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from app.admission.consuming import Demand, approval_needs
from app.admission.consuming_writer import ConsumingWriter
from app.admission.rows import Values
from app.db.clock import DatabaseClock
from app.db.connection import GuardedConnection, Primary
from app.db.recorder_health import RecorderHealth
from app.domain.access import Decision
from app.domain.policy import ApprovalDemand, QuotaDemand
from app.features.audit.epochs import ensure_epoch
from app.lib.ids import new_id
from tests.admission.world import Connection, World

POLICY, OTHER_POLICY = UUID(int=11), UUID(int=12)
ASK = ApprovalDemand(POLICY, 3, "Refund approvers", "Refunds need a second person.")
DAY = 1_780_000_000.0 // 86_400 * 86_400


def quota(limit: int, key: str = "a-quota") -> QuotaDemand:
    """A demand for one use of a daily quota."""
    return QuotaDemand(OTHER_POLICY, key, limit, DAY, DAY + 86_400, "Ten a day are enough.")


def demand(
    world: World,
    decided: Decision,
    *asks: ApprovalDemand,
    quotas: tuple[QuotaDemand, ...] = (),
    digest: bytes = b"d" * 32,
    definition: bytes = b"definition",
    risk: str = "write",
    bound: object = None,
    **others: Any,
) -> Demand:
    """A call of the world's token."""
    values = Values(
        id=new_id(), action="tool.call", actor_type="identity", decision="require_approval", actor_id=world.person,
        token_id=world.token, server_id=world.server, tool="get_time", arguments_digest=digest,
        definition_digest=definition,
    )  # fmt: skip
    span = (decided.valid_from, decided.valid_until)
    needs = approval_needs(values, asks, risk, bound)
    return Demand(values, decided.depends_on, span, needs, quotas, risk=risk, **others)


@asynccontextmanager
async def running_consuming_writer(
    url: str, *, ttl: float = 3600.0, health: RecorderHealth | None = None
) -> AsyncIterator[ConsumingWriter]:
    """A writer that serves its queue."""

    async def connect() -> GuardedConnection:
        connection = await Primary(url).connect(10, {})
        await ensure_epoch(connection)
        return connection

    consuming = ConsumingWriter(connect, DatabaseClock(), new_id(), "key", ttl, health)
    serving = asyncio.create_task(consuming.run())
    yield consuming
    consuming.close()
    await asyncio.wait([serving], timeout=60)
    assert serving.done()
    serving.result()


async def approve(connection: Connection, ttl: float = 3600.0) -> int:
    """Approve all pending approvals. Returns how many."""
    status = await connection.execute(
        "UPDATE approvals SET state = 'approved', expires_at = now() + make_interval(secs => $1)"
        " WHERE state = 'pending'",
        ttl,
    )
    return int(status.rpartition(" ")[2])


async def states(connection: Connection) -> list[str]:
    """The states of all approvals, oldest first."""
    return [row["state"] for row in await connection.fetch("SELECT state FROM approvals ORDER BY id")]


async def used(connection: Connection, key: str = "a-quota") -> int:
    """The used part of a quota."""
    found = await connection.fetchval("SELECT used FROM quota_uses WHERE quota_key = $1", key)
    return found or 0


async def event(connection: Connection, id: UUID) -> Any:
    """The audit row of a call."""
    return await connection.fetchrow("SELECT * FROM audit_events WHERE id = $1", id)
