"""Queries of invitations. A row is locked after its identity."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Select, String, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.invitations.schemas import InvitationQuery
from app.http.pagination import select_filtered
from app.models.identities import Invitation

# The status is read after the lock is acquired, which may be long after the transaction began.
_STATUS: ColumnElement[str] = literal_column(
    "CASE WHEN invitations.status IN ('pending', 'claimed') AND invitations.expires_at <= clock_timestamp() "
    "THEN 'expired' ELSE invitations.status END",
    String,
)


@dataclass(frozen=True, slots=True)
class InvitationReading:
    """An invitation with its current status."""

    row: Invitation
    status: str


def select_invitations(query: InvitationQuery) -> Select[Invitation]:
    """Select the invitations that match the filters."""
    statement = select_filtered(Invitation, query, "identity_id", "provider_id")
    return statement.where(_STATUS.in_(query.status)) if query.status else statement


async def find_invitations(session: AsyncSession, ids: list[UUID]) -> dict[UUID, InvitationReading]:
    """Several invitations by id."""
    query = select(Invitation, _STATUS).where(col(Invitation.id).in_(ids))
    rows = await session.execute(query.execution_options(populate_existing=True))
    return {row.id: InvitationReading(row, status) for row, status in rows}


async def find_invitation(session: AsyncSession, id: UUID, *, lock: bool = False) -> InvitationReading | None:
    """Find an invitation; with ``lock``, in its state once locked."""
    if lock:
        await session.execute(select(col(Invitation.id)).where(col(Invitation.id) == id).with_for_update())
    return (await find_invitations(session, [id])).get(id)


async def find_invited(
    session: AsyncSession, provider_id: UUID, link: str, verified_email: str | None
) -> InvitationReading | None:
    """The oldest pending invitation for an account: by its subject, or by an address that its provider has verified."""
    fits = col(Invitation.subject) == link
    if verified_email is not None:
        fits |= func.lower(col(Invitation.email)) == func.lower(verified_email)
    query = (
        select(Invitation, _STATUS)
        .where(
            col(Invitation.provider_id) == provider_id,
            col(Invitation.status) == "pending",
            col(Invitation.expires_at) > func.clock_timestamp(),
            fits,
        )
        .order_by(col(Invitation.id))
        .limit(1)
    )
    row = (await session.execute(query)).one_or_none()
    return None if row is None else InvitationReading(*row)


async def is_claimed_by(session: AsyncSession, provider_id: UUID, link: str) -> bool:
    """Whether an account waits for an administrator to confirm it."""
    query = select(col(Invitation.id)).where(
        col(Invitation.provider_id) == provider_id,
        col(Invitation.claimed_link) == link,
        col(Invitation.status) == "claimed",
        col(Invitation.expires_at) > func.clock_timestamp(),
    )
    return (await session.execute(query.limit(1))).first() is not None
