"""Queries of groups and memberships."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Select, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.groups.schemas import GroupQuery
from app.http.pagination import Sorts, caseless
from app.models.identities import Group, GroupMember

SORTS: Sorts = {
    "name": caseless(col(Group.name)),
}
"""The sort orders of the list, with an index for each."""


def select_groups(query: GroupQuery) -> Select[Group]:
    """Select the groups that match a filter."""
    statement = select(Group)
    if query.include is None:
        statement = statement.where(col(Group.ended_at).is_(None))
    if query.name:
        statement = statement.where(
            func.lower(col(Group.name)).in_([func.lower(name) for name in query.name])
        )
    if query.external_id:
        statement = statement.where(col(Group.external_id).in_(query.external_id))
    if query.source:
        statement = statement.where(col(Group.source).in_(query.source))
    if query.member_id:
        group_ids = select(col(GroupMember.group_id)).where(col(GroupMember.identity_id).in_(query.member_id))
        statement = statement.where(col(Group.id).in_(group_ids))
    if query.q:
        columns = (col(Group.name), col(Group.description))
        statement = statement.where(or_(*(column.icontains(query.q, autoescape=True) for column in columns)))
    return statement


async def membership(session: AsyncSession, group_id: UUID, identity_id: UUID) -> GroupMember | None:
    """The current membership of an identity in a group."""
    statement = select(GroupMember).where(
        col(GroupMember.group_id) == group_id, col(GroupMember.identity_id) == identity_id
    )
    member: GroupMember | None = await session.scalar(statement)
    return member


async def members_among(session: AsyncSession, group_id: UUID, identity_ids: Collection[UUID]) -> set[UUID]:
    """Find those of these identities that are in a group."""
    statement = select(col(GroupMember.identity_id)).where(
        col(GroupMember.group_id) == group_id, col(GroupMember.identity_id).in_(identity_ids)
    )
    return set(await session.scalars(statement))


async def end_memberships(session: AsyncSession, group_id: UUID) -> list[GroupMember]:
    """Remove every member from a group; return the former memberships."""
    statement = delete(GroupMember).where(col(GroupMember.group_id) == group_id).returning(GroupMember)
    return list(await session.scalars(statement))
