"""Queries of pick-up links: how they stand, and the locks on them.

They come after tokens in the one order of locks: identities, grants, tokens, pick-ups.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, String, func, literal_column, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.tokens.queries import among
from app.models.identities import Identity
from app.models.tokens import Token, TokenPickup

# A link is looked at when its lock is held, which may be long after the transaction began.
_STATE: ColumnElement[str] = literal_column(
    """CASE WHEN token_pickups.state <> 'pending' THEN token_pickups.state
    WHEN least(token_pickups.expires_at, tokens.expires_at) <= clock_timestamp() THEN 'expired'
    WHEN coalesce(identities.owner_id, identities.id) <> token_pickups.recipient_id THEN 'cancelled'
    ELSE 'pending' END""",
    String,
)
# Once an hour, so that somebody who reloads a page fills neither the log nor a channel.
_REOPENED = text("""
UPDATE token_pickups SET reopened_at = clock_timestamp()
WHERE id = :id AND (reopened_at IS NULL OR reopened_at < clock_timestamp() - interval '1 hour') RETURNING id
""")


@dataclass(frozen=True, slots=True)
class PickupReading:
    """A link with how it stands now, until when it can be taken at most, and whose token it is for."""

    row: TokenPickup
    state: str
    expires_at: datetime
    identity_id: UUID


def _readings() -> Select[TokenPickup, str, datetime, UUID]:
    until = func.least(col(TokenPickup.expires_at), col(Token.expires_at))
    return (
        select(TokenPickup, _STATE, until, col(Token.identity_id))
        .join(Token, col(Token.id) == col(TokenPickup.token_id))
        .join(Identity, col(Identity.id) == col(Token.identity_id))
        .execution_options(populate_existing=True)
    )


def select_pickups(token_id: UUID) -> Select[TokenPickup]:
    """The links of a token."""
    return select(TokenPickup).where(col(TokenPickup.token_id) == token_id)


async def find_pickups(session: AsyncSession, ids: Collection[UUID]) -> dict[UUID, PickupReading]:
    """Several links by id."""
    rows = await session.execute(_readings().where(among(col(TokenPickup.id), ids)))
    return {row[0].id: PickupReading(*row) for row in rows}


def select_waiting(me: UUID) -> Select[TokenPickup]:
    """The links that wait for this person."""
    return (
        select(TokenPickup)
        .join(Token, col(Token.id) == col(TokenPickup.token_id))
        .join(Identity, col(Identity.id) == col(Token.identity_id))
        .where(col(TokenPickup.recipient_id) == me, col(TokenPickup.state) == "pending", _STATE == "pending")
    )


async def find_own_pickup(session: AsyncSession, me: UUID, id: UUID) -> PickupReading | None:
    """A link, if it is for this person and they still answer for the token."""
    answers = func.coalesce(col(Identity.owner_id), col(Identity.id))
    query = _readings().where(col(TokenPickup.id) == id, col(TokenPickup.recipient_id) == me, answers == me)
    row = (await session.execute(query)).one_or_none()
    return None if row is None else PickupReading(*row)


async def lock_pickup(session: AsyncSession, id: UUID) -> PickupReading:
    """A link that is known to be there, as it is once its lock is held; whoever asks holds its token."""
    await session.execute(select(col(TokenPickup.id)).where(col(TokenPickup.id) == id).with_for_update())
    # Asked after the lock: the clock of a statement that waits is read before it.
    return (await find_pickups(session, [id]))[id]


async def end_pickups(session: AsyncSession, token_ids: Collection[UUID]) -> None:
    """Cancel what waits of these locked tokens."""
    await _cancel(session, among(col(TokenPickup.token_id), token_ids))


async def end_pickups_of(session: AsyncSession, recipient_id: UUID) -> None:
    """Cancel what waits for this locked identity."""
    await _cancel(session, col(TokenPickup.recipient_id) == recipient_id)


async def _cancel(session: AsyncSession, which: ColumnElement[bool]) -> None:
    values: dict[str, Any] = {"state": "cancelled", "revision": col(TokenPickup.revision) + 1}
    await session.execute(
        update(TokenPickup)
        .where(which, col(TokenPickup.state) == "pending")
        .values(values)
        .execution_options(synchronize_session=False)
    )


async def note_reopened(session: AsyncSession, id: UUID) -> bool:
    """Note that a used link was opened again; whether that is to be told, which it was not within the last hour."""
    return (await session.execute(_REOPENED, {"id": id})).one_or_none() is not None
