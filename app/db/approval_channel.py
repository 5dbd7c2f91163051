"""Word that an approval was decided or ended, for whoever waits for it. Nothing rests on it: it makes things sooner."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

CHANNEL = "scopegate_approvals"
"""The payload is the id of one approval, as 32 hexadecimal digits; it comes with the commit."""

_NOTIFY = text("SELECT pg_notify(:channel, id) FROM unnest(CAST(:ids AS text[])) AS t(id)")


async def notify_decided(session: AsyncSession, ids: Collection[UUID]) -> None:
    """Say so of these approvals when this transaction commits."""
    if ids:
        await session.execute(_NOTIFY, {"channel": CHANNEL, "ids": [id.hex for id in ids]})
