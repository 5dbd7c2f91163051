"""Notifications that an approval was decided or ended. They only shorten waits; correctness does not depend on them."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

CHANNEL = "scopegate_approvals"
"""The payload is the id of one approval as 32 hexadecimal digits. It is sent at commit."""

_NOTIFY = text("SELECT pg_notify(:channel, id) FROM unnest(CAST(:ids AS text[])) AS t(id)")


async def notify_decided(session: AsyncSession, ids: Collection[UUID]) -> None:
    """Notify waiting workers about these approvals when this transaction commits."""
    if ids:
        await session.execute(_NOTIFY, {"channel": CHANNEL, "ids": [id.hex for id in ids]})
