"""The rows of browser sessions: opened by a sign-in (administrators), ended by whoever ends what they rest on."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, delete, func, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.models.identities import BrowserSession


async def end_sessions_where(
    session: AsyncSession, *conditions: ColumnElement[bool]
) -> Sequence[Row[UUID, UUID, UUID]]:
    """End the browser sessions that meet the conditions; return their ids, identities and providers."""
    columns = (col(BrowserSession.id), col(BrowserSession.identity_id), col(BrowserSession.provider_id))
    ended = delete(BrowserSession).where(*conditions).returning(*columns)
    return (await session.execute(ended.execution_options(synchronize_session=False))).all()


async def end_browser_sessions(session: AsyncSession, identity_id: UUID) -> int:
    """End all browser sessions of a locked identity, which a reinstatement must not restore; return their number."""
    return len(await end_sessions_where(session, col(BrowserSession.identity_id) == identity_id))


async def add_session(session: AsyncSession, **columns: Any) -> BrowserSession:
    """Add the session of a person who just signed in."""
    row = BrowserSession(**columns)
    session.add(row)
    await session.flush()
    return row


async def mark_seen(session: AsyncSession, id: UUID, every: timedelta) -> None:
    """Note that the person does something, at most once in a while."""
    await session.execute(
        update(BrowserSession)
        .where(col(BrowserSession.id) == id, col(BrowserSession.seen_at) < func.now() - every)
        .values(seen_at=func.clock_timestamp())
        .execution_options(synchronize_session=False)
    )
