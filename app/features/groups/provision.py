"""Provision groups from a directory: create, rename, and change members, some or all at once.

Grants of a provisioned group follow the directory, as its administrators expect. But a directory must not get access by
creating a group with a name that a policy lets approve.
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
from app.features.groups import queries
from app.features.groups.queries import members_among
from app.features.identities.policy_reads import check_may_change_group, names_overlap
from app.http.authorization import Caller
from app.lib.ids import IDENTITY, format_id
from app.models.identities import Group

_NAMED_AT_ONCE = 1_000
"""Members in one event; a larger change has several events."""


@dataclass(frozen=True, slots=True)
class Directory:
    """The provisioning service account and provider of a request."""

    caller: Caller
    provider_id: UUID
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Membership:
    """The result for the members of a group; ``skipped`` are offboarded people, who get no access."""

    joined: list[UUID]
    left: list[UUID]
    skipped: list[UUID]
    events: list[UUID]


async def create_provided(
    session: AsyncSession, directory: Directory, name: str, external_id: str | None
) -> tuple[Group, UUID]:
    """Create an empty group; return it and the id of the event. Raises ``Forbidden`` and ``Conflict``."""
    await check_may_change_group(session, directory.caller, name)
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
    """Set the name and external id of an exclusively locked group; return the id of the event, if any.

    Raises ``Forbidden`` and ``Conflict``.
    """
    values = {"name": name, "external_id": external_id}
    changed = {key: value for key, value in values.items() if getattr(group, key) != value}
    if not changed:
        return None
    if "name" in changed and not await names_overlap(session, [name], [group.name]):
        # Both names: either change decides whether the group may approve.
        await check_may_change_group(session, directory.caller, group.name, name)
    changes = {key: {"from": getattr(group, key), "to": value} for key, value in changed.items()}
    for key, value in changed.items():
        setattr(group, key, value)
    group.revision += 1
    await _flush_unique(session, group)
    if "name" in changed:
        # Policies name groups, so a new name can take access away.
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
    """Add identities to an exclusively locked group, and remove others.

    Members and non-members that already are so are skipped: the cost depends on what changes. Raises ``Invalid`` for an
    identity to add that the provider does not manage.
    """
    present = await members_among(session, group.id, {*add, *remove})
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
    # A member whom the provider does not manage was added by hand and stays.
    removed = await queries.leave(session, group.id, leaving & people.keys()) if leaving else []
    if joined:
        await queries.join(session, group.id, joined)
    if joined or removed:
        group.revision += 1
        await session.flush()
        await session.refresh(group)
    # Joining adds the group's grants, and removes what a policy forbids to the group.
    await move_versions(session, [*joined, *removed], narrows=True)
    events = await _record_members(session, directory, group, joined, removed, skipped)
    return Membership(joined, removed, skipped, events)


async def set_members(
    session: AsyncSession, directory: Directory, group: Group, member_ids: Collection[UUID]
) -> Membership:
    """Set the members of an exclusively locked group, among the people that the provider manages.

    Raises ``Invalid`` as ``change_members`` does.
    """
    present = await queries.provided_members(session, directory.provider_id, group.id)
    return await change_members(
        session, directory, group, add=set(member_ids) - present, remove=present - set(member_ids)
    )


async def _record_members(
    session: AsyncSession,
    directory: Directory,
    group: Group,
    joined: list[UUID],
    removed: list[UUID],
    skipped: list[UUID],
) -> list[UUID]:
    entries = [("added", id) for id in joined]
    entries += [("removed", id) for id in removed]
    entries += [("skipped", id) for id in skipped]
    events = []
    for start in range(0, len(entries), _NAMED_AT_ONCE):
        changes: dict[str, list[str]] = {}
        for what, id in entries[start : start + _NAMED_AT_ONCE]:
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
