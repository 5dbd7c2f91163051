"""Queries of groups and memberships: one statement each, for any number of members."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.change import Subject
from app.db.rows import is_one_of
from app.features.groups.schemas import GroupQuery
from app.http.pagination import Sorts, caseless, select_filtered
from app.models.identities import Group, GroupMember, Identity, ScimUser

MEMBERSHIP = Subject("membership", history="membership", kept=("group_id", "identity_id"))
SORTS: Sorts = {"name": caseless(col(Group.name))}


def select_groups(query: GroupQuery) -> Select[Group]:
    """Select the groups that match a filter."""
    statement = select_filtered(Group, query, "external_id", "source", texts=("name", "description"))
    if query.include is None:
        statement = statement.where(col(Group.ended_at).is_(None))
    if query.name:
        statement = statement.where(
            func.lower(col(Group.name)).in_([func.lower(name) for name in query.name])
        )
    if query.member_id:
        group_ids = select(col(GroupMember.group_id)).where(col(GroupMember.identity_id).in_(query.member_id))
        statement = statement.where(col(Group.id).in_(group_ids))
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
        col(GroupMember.group_id) == group_id, is_one_of(col(GroupMember.identity_id), identity_ids)
    )
    return set(await session.scalars(statement))


async def find_provided(
    session: AsyncSession, provider_id: UUID, group_id: UUID, *, lock: bool
) -> Group | None:
    """Find a group that this provider manages; ``lock`` locks it exclusively, to serialize changes."""
    mode = {"key_share": True} if lock else None
    group = await session.get(Group, group_id, with_for_update=mode, populate_existing=True)
    if group is None or group.ended_at is not None or group.source != "scim":
        return None
    return group if group.provider_id == provider_id else None


async def provided_members(session: AsyncSession, provider_id: UUID, group_id: UUID) -> set[UUID]:
    """The members of a group that the provider manages; those added by hand are not included."""
    query = (
        select(col(GroupMember.identity_id))
        .join(ScimUser, col(ScimUser.identity_id) == col(GroupMember.identity_id))
        .where(
            col(GroupMember.group_id) == group_id,
            col(ScimUser.provider_id) == provider_id,
            col(ScimUser.deleted_at).is_(None),
        )
    )
    return set(await session.scalars(query))


async def lock_people(session: AsyncSession, provider_id: UUID, ids: Collection[UUID]) -> dict[UUID, bool]:
    """Lock the identities among these that the provider manages or managed, in id order; return whether each ended."""
    query = (
        select(col(Identity.id), col(Identity.status), col(ScimUser.deleted_at))
        .join(ScimUser, col(ScimUser.identity_id) == col(Identity.id))
        .where(col(ScimUser.provider_id) == provider_id, is_one_of(col(Identity.id), ids))
        .order_by(col(Identity.id))
        .with_for_update(of=Identity, key_share=True)
    )
    rows = await session.execute(query)
    return {id: status == "offboarded" or deleted is not None for id, status, deleted in rows}
