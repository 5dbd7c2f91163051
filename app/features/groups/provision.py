"""Groups that a directory keeps: made, renamed, and told who is in them, some or all at once.

What its groups were granted follows the directory, which is what an administrator wants who grants to one. What it may
not do is shape a group by the name of one that a policy lets approve.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.versions import move_versions
from app.domain.errors import Conflict, Invalid
from app.features.audit.record import record
from app.features.groups import provision_queries as queries
from app.features.groups.named import are_alike, check_may_shape
from app.http.authorization import Caller
from app.lib.ids import IDENTITY, format_id
from app.models.groups import Group

_NAMED_AT_ONCE = 1_000
"""How many members one event names; a larger change has several."""


@dataclass(frozen=True, slots=True)
class Directory:
    """Who changes the groups of which provider, in which request."""

    caller: Caller
    provider_id: UUID
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Membership:
    """What became of the members of a group; ``skipped`` are people who are offboarded, whom nothing gives rights."""

    joined: list[UUID]
    left: list[UUID]
    skipped: list[UUID]
    events: list[UUID]


async def create_provided(
    session: AsyncSession, directory: Directory, name: str, external_id: str | None
) -> tuple[Group, UUID]:
    """Make an empty group; it and the id of the event. Raises ``Forbidden`` and ``Conflict``."""
    await check_may_shape(session, directory.caller, name)
    group = Group(name=name, external_id=external_id, source="scim", provider_id=directory.provider_id)
    session.add(group)
    await _flush_unique(session, group)
    await move_versions(session, [group.id], narrows=False)
    changes = {"name": {"from": None, "to": name}, "source": {"from": None, "to": "scim"}}
    event = await _record(session, directory, "group.create", group, changes)
    return group, event


async def change_provided(
    session: AsyncSession, directory: Directory, group: Group, name: str, external_id: str | None
) -> UUID | None:
    """Give a group that is locked exclusively this name and external id; the id of the event, if any.

    Raises ``Forbidden`` and ``Conflict``.
    """
    wanted = {"name": name, "external_id": external_id}
    moved = {key: value for key, value in wanted.items() if getattr(group, key) != value}
    if not moved:
        return None
    if "name" in moved and not await are_alike(session, [name], [group.name]):
        # Either way: by it the group would come to decide, or be kept from deciding.
        await check_may_shape(session, directory.caller, group.name, name)
    changes = {key: {"from": getattr(group, key), "to": value} for key, value in moved.items()}
    for key, value in moved.items():
        setattr(group, key, value)
    group.revision += 1
    await _flush_unique(session, group)
    if "name" in moved:
        # Policies name groups, so a new name can take rights away.
        await move_versions(session, [group.id], narrows=True)
    return await _record(session, directory, "group.update", group, changes)


async def change_members(
    session: AsyncSession,
    directory: Directory,
    group: Group,
    *,
    add: Collection[UUID] = (),
    remove: Collection[UUID] = (),
) -> Membership:
    """Put identities into a group that is locked exclusively, and take others out of it.

    Who is in it already, or out of it, is let be: what this costs goes with what changes. Raises ``Invalid`` for one
    to add whom the provider does not keep.
    """
    present = await queries.members_among(session, group.id, {*add, *remove})
    joining = set(add) - present
    leaving = (set(remove) & present) - set(add)
    people = await queries.lock_people(session, directory.provider_id, joining | leaving)
    unknown = joining - people.keys()
    if unknown:
        raise Invalid.field(
            "/members",
            "unknown_member",
            f"No user of this directory has the id {format_id(IDENTITY, min(unknown))}.",
        )
    skipped = sorted(id for id in joining if people[id].ended)
    joined = sorted(joining.difference(skipped))
    # Whom the provider does not keep was put there by hand, and is not its to take out.
    left = await queries.leave(session, group.id, leaving & people.keys()) if leaving else []
    if joined:
        await queries.join(session, group.id, joined)
    if joined or left:
        group.revision += 1
        await session.flush()
        await session.refresh(group)
    # Joining gives the group's grants, and takes what a policy forbids to the group.
    await move_versions(session, [*joined, *left], narrows=True)
    events = await _record_members(session, directory, group, joined, left, skipped)
    return Membership(joined, left, skipped, events)


async def set_members(
    session: AsyncSession, directory: Directory, group: Group, wanted: Collection[UUID]
) -> Membership:
    """Make these the members of a group that is locked exclusively, of those whom the provider keeps.

    Raises ``Invalid`` as ``change_members`` does.
    """
    present = await queries.provided_members(session, directory.provider_id, group.id)
    return await change_members(
        session, directory, group, add=set(wanted) - present, remove=present - set(wanted)
    )


async def _record_members(
    session: AsyncSession,
    directory: Directory,
    group: Group,
    joined: list[UUID],
    left: list[UUID],
    skipped: list[UUID],
) -> list[UUID]:
    named = [("added", id) for id in joined]
    named += [("removed", id) for id in left]
    named += [("skipped", id) for id in skipped]
    events = []
    for start in range(0, len(named), _NAMED_AT_ONCE):
        changes: dict[str, list[str]] = {}
        for what, id in named[start : start + _NAMED_AT_ONCE]:
            changes.setdefault(what, []).append(format_id(IDENTITY, id))
        events.append(await _record(session, directory, "group.change_members", group, changes))
    return events


async def _record(
    session: AsyncSession, directory: Directory, action: str, group: Group, changes: dict[str, Any]
) -> UUID:
    return await record(
        session, directory.caller, action, "group", group.id, changes=changes, request_id=directory.request_id
    )


async def _flush_unique(session: AsyncSession, group: Group) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        if "uq_groups_name" in str(error.orig):
            raise Conflict("Another group of this directory has this name.", code="name_taken") from None
        raise
    await session.refresh(group)
