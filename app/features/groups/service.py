"""Verbs of groups: create, change, join, leave, end. What a group's end does to its grants stands with the grants."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.versions import move_versions
from app.domain.errors import Conflict, Invalid, NotFound
from app.features.audit.record import close_versions, keep_version, record
from app.features.groups.named import check_may_shape
from app.features.groups.queries import end_memberships, lock_group, membership
from app.features.groups.schemas import GroupCreate, GroupUpdate
from app.features.identities.queries import lock_identity
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.lib.ids import GROUP, IDENTITY, format_id
from app.models.groups import Group, GroupMember


def live(group: Group | None) -> Group:
    """The group itself. Raises ``NotFound`` when there is none or it has ended."""
    if group is None or group.ended_at is not None:
        raise NotFound("There is no such group.")
    return group


async def create_group(
    session: AsyncSession, caller: Caller, body: GroupCreate, request_id: str | None
) -> Group:
    """Make an empty group. Raises ``Forbidden``, ``Invalid`` and ``Conflict``."""
    await check_may_shape(session, caller, body.name)
    await _check_owner_group(session, body.owner_group_id)
    group = Group(**dict(body))
    session.add(group)
    await _flush_unique(session, group)
    await move_versions(session, [group.id], narrows=False)
    changes = {name: {"from": None, "to": _show(value)} for name, value in body if value is not None}
    await record(session, caller, "group.create", "group", group.id, changes=changes, request_id=request_id)
    return group


async def update_group(
    session: AsyncSession, caller: Caller, group: Group, body: GroupUpdate, request_id: str | None
) -> Group:
    """Apply a merge patch to a group locked exclusively. Raises ``Forbidden``, ``Invalid`` and ``Conflict``."""
    given = body.given()
    moved = {name: value for name, value in given.items() if getattr(group, name) != value}
    if not moved:
        return group
    if moved.get("owner_group_id") == group.id:
        raise Invalid.field("/owner_group_id", "itself", "A group cannot own itself; name another group.")
    if "name" in moved:
        await check_may_shape(session, caller, group.name, moved["name"], group_id=group.id)
    await _check_owner_group(session, moved.get("owner_group_id"))
    changes = {
        name: {"from": _show(getattr(group, name)), "to": _show(value)} for name, value in moved.items()
    }
    for name, value in moved.items():
        setattr(group, name, value)
    group.revision += 1
    await _flush_unique(session, group)
    if "name" in moved:
        # Policies name groups, so a new name can take rights away.
        await move_versions(session, [group.id], narrows=True)
    await record(session, caller, "group.update", "group", group.id, changes=changes, request_id=request_id)
    return group


async def add_member(
    session: AsyncSession,
    caller: Caller,
    group: Group,
    identity_id: UUID,
    if_match: Precondition,
    request_id: str | None,
) -> tuple[GroupMember, bool]:
    """Put an identity into a group that is locked shared; whether it is new.

    Raises ``NotFound``, ``PreconditionFailed`` and ``Conflict``.
    """
    identity = await lock_identity(session, identity_id)
    if identity is None:
        raise NotFound("There is no such identity.")
    present = await membership(session, group.id, identity_id)
    if present is not None:
        if_match.check(present.id.hex)
        return present, False
    if_match.check_none()
    if identity.status == "offboarded":
        raise Conflict("This identity is offboarded; reinstate it first.", code="identity_offboarded")
    member = GroupMember(group_id=group.id, identity_id=identity_id)
    session.add(member)
    await session.flush()
    content = {"group_id": str(group.id), "identity_id": str(identity_id)}
    await keep_version(session, "membership", member.id, content)
    # Joining gives the group's grants, and takes what a policy forbids to the group.
    await move_versions(session, [identity_id], narrows=True)
    await _record_member(session, caller, "group.add_member", group, identity_id, request_id)
    return member, True


async def remove_member(
    session: AsyncSession,
    caller: Caller,
    group: Group,
    identity_id: UUID,
    if_match: Precondition,
    request_id: str | None,
) -> None:
    """Take an identity out of a group that is locked shared. Raises ``NotFound`` and ``PreconditionFailed``."""
    if await lock_identity(session, identity_id) is None:
        raise NotFound("There is no such identity.")
    member = await membership(session, group.id, identity_id)
    if member is None:
        raise NotFound("This identity is not in the group.")
    if_match.check(member.id.hex)
    await session.delete(member)
    await keep_version(session, "membership", member.id, None)
    # mutation: member_removed
    await move_versions(session, [identity_id], narrows=True)
    await _record_member(session, caller, "group.remove_member", group, identity_id, request_id)


async def end_group(session: AsyncSession, group: Group, now: datetime) -> list[UUID]:
    """End a group locked exclusively and close its memberships; the ids of those who were members.

    Its grants, all versions and the event are the caller's: see ``features/grants``.
    """
    group.ended_at = now
    group.revision += 1
    members = await end_memberships(session, group.id)
    await close_versions(session, [member.id for member in members])
    await session.flush()
    return [member.identity_id for member in members]


async def _record_member(
    session: AsyncSession,
    caller: Caller,
    action: str,
    group: Group,
    identity_id: UUID,
    request_id: str | None,
) -> None:
    changes = {"identity_id": format_id(IDENTITY, identity_id)}
    await record(session, caller, action, "group", group.id, changes=changes, request_id=request_id)


async def _check_owner_group(session: AsyncSession, owner_group_id: UUID | None) -> None:
    if owner_group_id is None:
        return
    owner = await lock_group(session, owner_group_id, share=True)
    if owner is None or owner.ended_at is not None:
        raise Invalid.field("/owner_group_id", "not_found", "There is no such group; name one that exists.")


async def _flush_unique(session: AsyncSession, group: Group) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        if "uq_groups_name" in str(error.orig):
            raise Conflict("Another group has this name; choose another one.", code="name_taken") from None
        raise
    await session.refresh(group)


def _show(value: Any) -> Any:
    return format_id(GROUP, value) if isinstance(value, UUID) else value
