"""Queries of service accounts."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.rows import is_one_of
from app.http.pagination import Sorts, caseless
from app.models.identities import ServiceAccount, ServiceAccountCredential

SORTS: Sorts = {"name": caseless(col(ServiceAccount.name))}


async def has_another_credential(session: AsyncSession, row: ServiceAccountCredential) -> bool:
    """Whether the account of a credential has another live one."""
    query = select(col(ServiceAccountCredential.id)).where(
        col(ServiceAccountCredential.service_account_id) == row.service_account_id,
        col(ServiceAccountCredential.id) != row.id,
        col(ServiceAccountCredential.revoked_at).is_(None),
    )
    return (await session.execute(query.limit(1))).first() is not None


async def owned_accounts(session: AsyncSession, owner_ids: Collection[UUID], *, lock: bool) -> list[UUID]:
    """The accounts of these owners that are not flagged yet, in id order; locked on demand."""
    query = (
        select(col(ServiceAccount.id))
        .where(
            is_one_of(col(ServiceAccount.owner_id), owner_ids),
            col(ServiceAccount.ended_at).is_(None),
            col(ServiceAccount.owner_offboarded).is_(False),
        )
        .order_by(col(ServiceAccount.id))
    )
    return list(await session.scalars(query.with_for_update() if lock else query))
