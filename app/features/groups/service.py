"""Create, read, change, join, leave and end groups. With a group end its grants and its pending approvals."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, bindparam, delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db import rows
from app.db.change import Change, Subject
from app.db.rows import Lock, is_one_of
from app.domain.errors import Conflict, Invalid, NotFound
from app.features.approvals.queries import open_approvals
from app.features.approvals.service import cancel_approvals
from app.features.grants.queries import group_holds_grants, open_grants_of
from app.features.grants.service import end_grants_with
from app.features.groups.queries import MEMBERSHIP, SORTS, membership, select_groups
from app.features.groups.schemas import GroupCreate, GroupQuery, GroupUpdate, MemberQuery
from app.features.identities.policy_reads import check_may_change_group, needs_grants_write
from app.features.identities.queries import lock_identity
from app.features.servers.queries import owns_requestable
from app.http.authorization import Caller, Permission, authorize
from app.http.etags import Precondition
from app.http.pagination import Cursors, read_page
from app.http.runtime import Runtime
from app.lib import ids
from app.lib.ids import format_id, new_id
from app.models.access import Approval
from app.models.identities import Group, GroupMember

# One statement for any number of members: rows as objects would block the event loop.
_JOIN = text("""
INSERT INTO group_members (id, group_id, identity_id)
SELECT membership, :group_id, identity FROM unnest(:ids, :identity_ids) AS new (membership, identity)
""").bindparams(
    bindparam("group_id", type_=Uuid()),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("identity_ids", type_=ARRAY(Uuid)),
)

GROUP = Subject(
    "group",
    audited=tuple(GroupUpdate.model_fields),
    shown={"owner_group_id": lambda id: format_id(ids.GROUP, id)},
)


async def list_groups(
    session: AsyncSession, caller: Caller, query: GroupQuery, runtime: Runtime
) -> tuple[list[Group], str | None]:
    """Read a page of groups and the next cursor. Raises ``Forbidden`` when ended ones are requested."""
    if query.include is not None:
        authorize(caller, Permission.AUDIT_READ)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_groups", query.filters())
    return await read_page(session, select_groups(query), Group, cursors, query, SORTS)


async def get_group(session: AsyncSession, caller: Caller, id: UUID, *, ended: bool = False) -> Group:
    """Read a group; with ``ended``, also an ended one. Raises ``NotFound`` and ``Forbidden``."""
    group = await session.get(Group, id)
    if ended and group is not None:
        authorize(caller, Permission.AUDIT_READ)
        return group
    return rows.existing(group, "group")


async def list_members(
    session: AsyncSession, caller: Caller, group_id: UUID, query: MemberQuery, runtime: Runtime
) -> tuple[list[GroupMember], str | None]:
    """Read a page of memberships and the next cursor. Raises ``NotFound``."""
    await get_group(session, caller, group_id)
    filters = query.filters() | {"group_id": group_id}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_group_members", filters)
    statement = select(GroupMember).where(col(GroupMember.group_id) == group_id)
    return await read_page(session, statement, GroupMember, cursors, query)


async def get_member(session: AsyncSession, caller: Caller, group_id: UUID, identity_id: UUID) -> GroupMember:
    """Read one membership. Raises ``NotFound``."""
    await get_group(session, caller, group_id)
    member = await membership(session, group_id, identity_id)
    if member is None:
        raise NotFound("This identity is not in the group.")
    return member


async def create_group(change: Change, body: GroupCreate) -> Group:
    """Create an empty group. Raises ``Forbidden``, ``Invalid`` and ``Conflict``."""
    await check_may_change_group(change.session, change.caller, body.name)
    await _check_owner_group(change.session, body.owner_group_id)
    group = Group(**dict(body))
    change.session.add(group)
    await flush_unique(change.session, group)
    change.record("group.create", GROUP, GROUP.blank(group), group, widens=[group.id])
    return group


async def update_group(change: Change, id: UUID, body: GroupUpdate, if_match: Precondition) -> Group:
    """Apply a merge patch. Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden``, ``Invalid`` and ``Conflict``."""
    group = rows.existing(await rows.lock(change.session, Group, id), "group")
    if_match.check(group.revision)
    changed = {name: value for name, value in body.given().items() if getattr(group, name) != value}
    if not changed:
        return group
    if changed.get("owner_group_id") == group.id:
        raise Invalid.field("/owner_group_id", "itself", "A group cannot own itself; name another group.")
    if "name" in changed:
        await check_may_change_group(
            change.session, change.caller, group.name, changed["name"], group_id=group.id
        )
    await _check_owner_group(change.session, changed.get("owner_group_id"))
    before = GROUP.values(group)
    group.sqlmodel_update(changed)
    group.revision += 1
    await flush_unique(change.session, group)
    # Policies name groups, so a new name can take access away.
    change.record("group.update", GROUP, before, group, narrows=[group.id] if "name" in changed else [])
    return group


async def add_member(
    change: Change, group_id: UUID, identity_id: UUID, if_match: Precondition
) -> tuple[GroupMember, bool]:
    """Add an identity to a group; return the membership and whether it is new.

    Raises ``NotFound``, ``Forbidden``, ``PreconditionFailed`` and ``Conflict``.
    """
    group = await _lock_to_change_members(change, group_id)
    identity = rows.existing(await lock_identity(change.session, identity_id), "identity")
    present = await membership(change.session, group.id, identity_id)
    if present is not None:
        if_match.check(present.id.hex)
        return present, False
    if_match.check_none()
    if identity.status == "offboarded":
        raise Conflict("This identity is offboarded; reinstate it first.", code="identity_offboarded")
    member = GroupMember(group_id=group.id, identity_id=identity_id)
    change.session.add(member)
    await change.session.flush()
    event_id = change.record("group.add_member", GROUP, group, group, details=_member_changes(identity_id))
    # Joining adds the group's grants, and removes what a policy forbids to the group.
    change.record_with(event_id, MEMBERSHIP, None, member, narrows=[identity_id])
    return member, True


async def remove_member(change: Change, group_id: UUID, identity_id: UUID, if_match: Precondition) -> None:
    """Remove an identity from a group. Raises ``NotFound``, ``Forbidden`` and ``PreconditionFailed``."""
    group = await _lock_to_change_members(change, group_id)
    rows.existing(await lock_identity(change.session, identity_id), "identity")
    member = await membership(change.session, group.id, identity_id)
    if member is None:
        raise NotFound("This identity is not in the group.")
    if_match.check(member.id.hex)
    await change.session.delete(member)
    event_id = change.record("group.remove_member", GROUP, group, group, details=_member_changes(identity_id))
    change.record_with(event_id, MEMBERSHIP, member, None)
    # mutation: member_removed
    change.move(narrows=[identity_id])


async def end_group(change: Change, id: UUID, if_match: Precondition) -> None:
    """End a group. Raises ``NotFound``, ``PreconditionFailed`` and ``Forbidden``."""
    group = rows.existing(await rows.lock(change.session, Group, id), "group")
    if_match.check(group.revision)
    await check_may_change_members(change.session, change.caller, group)
    await end_locked_group(change, group)


async def end_locked_group(change: Change, group: Group) -> None:
    """End a group, for which no shared lock may be held, with its memberships, grants and pending approvals."""
    session = change.session
    grants = await open_grants_of(session, "group_id", group.id, lock=True)
    # Before the memberships, in the order of a decision on an approval.
    approvals = await open_approvals(session, col(Approval.approver_group_id) == group.id, lock=True)
    await cancel_approvals(change, approvals, "group_ended")
    members = await end_memberships(session, col(GroupMember.group_id) == group.id)
    group.ended_at = change.now
    group.revision += 1
    details = {
        "ended_grants": [format_id(ids.GRANT, grant.id) for grant in grants],
        "removed_members": [format_id(ids.IDENTITY, member.identity_id) for member in members],
    }
    event_id = change.record("group.end", GROUP, group, None, details=details, narrows=[group.id])
    end_grants_with(change, event_id, grants)
    for member in members:
        change.record_with(event_id, MEMBERSHIP, member, None, narrows=[member.identity_id])


async def check_may_change_members(session: AsyncSession, caller: Caller, group: Group) -> None:
    """Raise ``Forbidden`` if changing the members would grant access, for a caller who may not grant.

    A directory changes its own groups by SCIM, and only with its own people; through the API, any identity could be
    added.
    """
    if caller.may(Permission.GRANTS_WRITE):
        return
    if await group_holds_grants(session, group.id):
        raise needs_grants_write(caller, "This group holds grants, so changing its members")
    if await owns_requestable(session, group.id):
        raise needs_grants_write(
            caller, "This group decides who gets access to a server, so changing its members"
        )
    await check_may_change_group(session, caller, group.name, group_id=group.id)


async def _lock_to_change_members(change: Change, group_id: UUID) -> Group:
    # Joining and leaving share the lock; granting to the group and ending it wait, and see the whole effect.
    group = rows.existing(await rows.lock(change.session, Group, group_id, Lock.SHARE), "group")
    await check_may_change_members(change.session, change.caller, group)
    return group


def _member_changes(identity_id: UUID) -> dict[str, str]:
    return {"identity_id": format_id(ids.IDENTITY, identity_id)}


async def _check_owner_group(session: AsyncSession, owner_group_id: UUID | None) -> None:
    if owner_group_id is None:
        return
    owner = await rows.lock(session, Group, owner_group_id, Lock.SHARE)
    if owner is None or owner.ended_at is not None:
        raise Invalid.field("/owner_group_id", "not_found", "There is no such group; name one that exists.")


async def flush_unique(session: AsyncSession, group: Group) -> None:
    """Flush a group and read it back. Raises ``Conflict`` for a taken name."""
    where = "" if group.provider_id is None else " of this directory"
    taken = Conflict(f"Another group{where} has this name; choose another one.", code="name_taken")
    await rows.flush_unique(session, {"uq_groups_name": taken})
    await session.refresh(group)


async def end_memberships(session: AsyncSession, *conditions: ColumnElement[bool]) -> list[GroupMember]:
    """Remove the members that meet the conditions from their groups; return the former memberships."""
    return list(await session.scalars(delete(GroupMember).where(*conditions).returning(GroupMember)))


async def join(session: AsyncSession, group_id: UUID, identity_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Add identities to a group that they are not in; return the memberships' ids by identity."""
    members = {identity_id: new_id() for identity_id in identity_ids}
    values = {"group_id": group_id, "ids": list(members.values()), "identity_ids": list(members)}
    await session.execute(_JOIN, values)
    return members


async def leave(session: AsyncSession, group_id: UUID, identity_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Remove identities from a group; return the former memberships' ids by identity."""
    statement = delete(GroupMember).where(
        col(GroupMember.group_id) == group_id, is_one_of(col(GroupMember.identity_id), identity_ids)
    )
    ended = statement.returning(col(GroupMember.identity_id), col(GroupMember.id))
    former = await session.execute(ended.execution_options(synchronize_session=False))
    return {row.identity_id: row.id for row in former}
