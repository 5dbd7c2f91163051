"""Queries and locks of scheduled offboardings.

A schedule's row is locked before the identity's when it is carried out or moved. An offboarding, which holds the
identity, does not wait for that row: its holder finds the identity offboarded, and settles the schedule.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.http.authorization import Role
from app.models.identities import (
    SERVICE_ACCOUNT_KIND,
    RoleAssignment,
    ServiceAccount,
)
from app.models.tokens import ScheduledOffboarding


async def lock_pending(
    session: AsyncSession, identity_id: UUID, *, wait: bool = True
) -> ScheduledOffboarding | None:
    """Find the pending schedule of this identity; without ``wait``, only if it is not locked."""
    statement = select(ScheduledOffboarding).where(
        col(ScheduledOffboarding.identity_id) == identity_id, col(ScheduledOffboarding.status) == "pending"
    )
    locked = statement.with_for_update(skip_locked=not wait).execution_options(populate_existing=True)
    return await session.scalar(locked)


async def roles_of_requester(session: AsyncSession, row: ScheduledOffboarding) -> frozenset[Role]:
    """The current roles of the person who scheduled it, or their roles when they ended, which does not cancel it."""
    if row.requested_by_kind == "break_glass":
        return frozenset({Role.OWNER})
    if row.requested_by_kind == SERVICE_ACCOUNT_KIND:
        query = select(col(ServiceAccount.role)).where(col(ServiceAccount.id) == row.requested_by_id)
    else:
        query = select(col(RoleAssignment.role)).where(
            col(RoleAssignment.administrator_id) == row.requested_by_id
        )
    return frozenset(Role(role) for role in await session.scalars(query))


async def claim_due(session: AsyncSession, resting: Collection[UUID]) -> ScheduledOffboarding | None:
    """Lock a due schedule that no worker carries out, except the resting ones."""
    statement = (
        select(ScheduledOffboarding)
        .where(
            col(ScheduledOffboarding.status) == "pending",
            col(ScheduledOffboarding.effective_at) <= func.clock_timestamp(),
            col(ScheduledOffboarding.id).not_in(resting),
        )
        .order_by(col(ScheduledOffboarding.effective_at))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return await session.scalar(statement)
