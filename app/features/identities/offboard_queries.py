"""What an offboarding looks up and ends in the features below."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.tokens.queries import among
from app.models.administrators import Administrator
from app.models.grants import Grant
from app.models.groups import GroupMember
from app.models.identities import Identity
from app.models.service_accounts import ServiceAccount

_QUIET = {"synchronize_session": False}


async def named(
    session: AsyncSession, *, external_id: str | None, user_name: str | None
) -> Sequence[Identity]:
    """Identities with this external id, or this user name whatever its case; newest first."""
    query = select(Identity).order_by(col(Identity.id).desc())
    if external_id is not None:
        query = query.where(col(Identity.external_id) == external_id)
    if user_name is not None:
        query = query.where(func.lower(col(Identity.user_name)) == func.lower(user_name))
    return (await session.scalars(query)).all()


async def agents_of(session: AsyncSession, owner_id: UUID) -> list[UUID]:
    """Agents of this person that are not offboarded."""
    query = select(col(Identity.id)).where(
        col(Identity.owner_id) == owner_id, col(Identity.status) != "offboarded"
    )
    return list(await session.scalars(query))


async def open_grants(session: AsyncSession, identity_id: UUID, *, lock: bool) -> list[UUID]:
    """Grants made to the identity itself that have not ended."""
    query = select(col(Grant.id)).where(col(Grant.identity_id) == identity_id, col(Grant.ended_at).is_(None))
    return await _ids(session, query.order_by(col(Grant.id)), lock=lock)


async def end_grants(session: AsyncSession, ids: Collection[UUID]) -> None:
    """End these grants now."""
    values: dict[str, Any] = {"ended_at": func.now(), "revision": col(Grant.revision) + 1}
    await session.execute(
        update(Grant).where(among(col(Grant.id), ids)).values(values).execution_options(**_QUIET)
    )


async def memberships(session: AsyncSession, identity_id: UUID) -> dict[UUID, UUID]:
    """The groups of the identity, by the id of its membership in each."""
    query = select(GroupMember).where(col(GroupMember.identity_id) == identity_id)
    return {row.id: row.group_id for row in await session.scalars(query)}


async def end_memberships(session: AsyncSession, ids: Collection[UUID]) -> None:
    """Take these memberships out; their past stays in the history."""
    await session.execute(
        delete(GroupMember).where(among(col(GroupMember.id), ids)).execution_options(**_QUIET)
    )


async def owned_accounts(session: AsyncSession, owner_ids: Collection[UUID], *, lock: bool) -> list[UUID]:
    """Service accounts that these identities answer for and that are not flagged yet."""
    query = select(col(ServiceAccount.id)).where(
        among(col(ServiceAccount.owner_id), owner_ids),
        col(ServiceAccount.ended_at).is_(None),
        col(ServiceAccount.owner_offboarded).is_(False),
    )
    return await _ids(session, query.order_by(col(ServiceAccount.id)), lock=lock)


async def flag_accounts(session: AsyncSession, ids: Collection[UUID]) -> None:
    """Say of these service accounts that whoever answered for them is gone."""
    values: dict[str, Any] = {"owner_offboarded": True, "revision": col(ServiceAccount.revision) + 1}
    await session.execute(
        update(ServiceAccount)
        .where(among(col(ServiceAccount.id), ids))
        .values(values)
        .execution_options(**_QUIET)
    )


async def active_administrator(
    session: AsyncSession, identity_id: UUID, *, lock: bool
) -> Administrator | None:
    """The identity's administrator record, unless it is disabled already."""
    query = select(Administrator).where(
        col(Administrator.identity_id) == identity_id, col(Administrator.status) == "active"
    )
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return await session.scalar(query)


async def _ids(session: AsyncSession, query: Select[UUID], *, lock: bool) -> list[UUID]:
    return list(await session.scalars(query.with_for_update() if lock else query))
