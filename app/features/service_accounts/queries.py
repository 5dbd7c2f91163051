"""Queries of service accounts."""

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.service_accounts.schemas import ServiceAccountQuery
from app.http.pagination import Sorts, caseless
from app.models.identities import ServiceAccount, ServiceAccountCredential

SORTS: Sorts = {
    "name": caseless(col(ServiceAccount.name)),
}
"""The sort orders of the list, with an index for each."""


def select_accounts(query: ServiceAccountQuery) -> Select[ServiceAccount]:
    """Select the accounts that match the filters, unordered."""
    statement = select(ServiceAccount)
    if query.include is None:
        statement = statement.where(col(ServiceAccount.ended_at).is_(None))
    if query.status:
        statement = statement.where(col(ServiceAccount.status).in_(query.status))
    if query.role:
        statement = statement.where(col(ServiceAccount.role).in_(query.role))
    if query.owner_id:
        statement = statement.where(col(ServiceAccount.owner_id).in_(query.owner_id))
    if query.q:
        statement = statement.where(col(ServiceAccount.name).icontains(query.q, autoescape=True))
    return statement


async def has_another_credential(session: AsyncSession, row: ServiceAccountCredential) -> bool:
    """Whether the account of a credential has another live one."""
    query = select(col(ServiceAccountCredential.id)).where(
        col(ServiceAccountCredential.service_account_id) == row.service_account_id,
        col(ServiceAccountCredential.id) != row.id,
        col(ServiceAccountCredential.revoked_at).is_(None),
    )
    return (await session.execute(query.limit(1))).first() is not None
