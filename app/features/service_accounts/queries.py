"""Queries of service accounts."""

from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.service_accounts.schemas import ServiceAccountQuery
from app.http.pagination import Cursors, ListQuery, Sorts, caseless, read_page
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


async def credentials_of(
    session: AsyncSession, account_id: UUID, cursors: Cursors, query: ListQuery
) -> tuple[list[ServiceAccountCredential], str | None]:
    """Read a page of an account's credentials, newest first, and the next cursor."""
    statement = select(ServiceAccountCredential).where(
        col(ServiceAccountCredential.service_account_id) == account_id
    )
    return await read_page(session, statement, ServiceAccountCredential, cursors, query)
