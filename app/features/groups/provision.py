"""Provision groups from a directory: create, rename, and change members, some or all at once.

Grants of a provisioned group follow the directory, as its administrators expect. But a directory must not get access by
creating a group with a name that a policy lets approve.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from app.db.change import Change, Values
from app.domain.errors import Invalid
from app.features.groups import queries
from app.features.groups.service import GROUP, flush_unique, join, leave
from app.features.identities.policy_reads import check_may_change_group, names_overlap
from app.lib.event_loop import map_in_slices
from app.lib.ids import IDENTITY, format_id
from app.models.identities import Group

_NAMED_AT_ONCE = 1_000
"""Members in one event; a larger change has several events."""


@dataclass(frozen=True, slots=True)
class Membership:
    """The result for the members of a group; ``skipped`` are offboarded people, who get no access."""

    joined: list[UUID]
    left: list[UUID]
    skipped: list[UUID]
    events: list[UUID]


async def create_provided(
    change: Change, provider_id: UUID, name: str, external_id: str | None
) -> tuple[Group, UUID]:
    """Create an empty group; return it and the id of the event. Raises ``Forbidden`` and ``Conflict``."""
    await check_may_change_group(change.session, change.caller, name)
    group = Group(name=name, external_id=external_id, source="scim", provider_id=provider_id)
    change.session.add(group)
    await flush_unique(change.session, group)
    source = {"source": {"from": None, "to": "scim"}}
    event_id = change.record(
        "group.create", GROUP, GROUP.blank(group), group, details=source, widens=[group.id]
    )
    return group, event_id


async def change_provided(change: Change, group: Group, name: str, external_id: str | None) -> UUID | None:
    """Set the name and external id of an exclusively locked group; return the id of the event, if any.

    Raises ``Forbidden`` and ``Conflict``.
    """
    values = {"name": name, "external_id": external_id}
    changed = {key: value for key, value in values.items() if getattr(group, key) != value}
    if not changed:
        return None
    if "name" in changed and not await names_overlap(change.session, [name], [group.name]):
        # Both names: either change decides whether the group may approve.
        await check_may_change_group(change.session, change.caller, group.name, name)
    before = GROUP.values(group)
    group.sqlmodel_update(changed)
    group.revision += 1
    await flush_unique(change.session, group)
    # Policies name groups, so a new name can take access away.
    return change.record(
        "group.update", GROUP, before, group, narrows=[group.id] if "name" in changed else []
    )


async def change_members(
    change: Change,
    provider_id: UUID,
    group: Group,
    *,
    add: Collection[UUID] = (),
    remove: Collection[UUID] = (),
) -> Membership:
    """Add identities to an exclusively locked group, and remove others.

    Members and non-members that already are so are skipped: the cost depends on what changes. Raises ``Invalid`` for an
    identity to add that the provider does not manage.
    """
    session = change.session
    present = await queries.members_among(session, group.id, {*add, *remove})
    joining = set(add) - present
    leaving = (set(remove) & present) - set(add)
    has_ended = await queries.lock_people(session, provider_id, joining | leaving)
    unknown = joining - has_ended.keys()
    if unknown:
        raise Invalid.field(
            "/members",
            "unknown_member",
            f"No user of this directory has the id {format_id(IDENTITY, min(unknown))}.",
        )
    skipped = sorted(id for id in joining if has_ended[id])
    joined = sorted(joining.difference(skipped))
    # A member whom the provider does not manage was added by hand and stays.
    left = await leave(session, group.id, leaving & has_ended.keys()) if leaving else {}
    members = await join(session, group.id, joined) if joined else {}
    if members or left:
        group.revision += 1
        await session.flush()
        await session.refresh(group)
    removed = sorted(left)
    entries = [("added", id) for id in joined] + [("removed", id) for id in removed]
    entries += [("skipped", id) for id in skipped]
    events = []
    for start in range(0, len(entries), _NAMED_AT_ONCE):
        details: dict[str, list[str]] = {}
        for what, id in entries[start : start + _NAMED_AT_ONCE]:
            details.setdefault(what, []).append(format_id(IDENTITY, id))
        events.append(change.record("group.change_members", GROUP, group, group, details=details))

    def keep(identity_id: UUID) -> None:
        columns = {"group_id": group.id, "identity_id": identity_id}
        before = Values(left[identity_id], columns) if identity_id in left else None
        after = Values(members[identity_id], columns) if identity_id in members else None
        change.record_with(events[0], queries.MEMBERSHIP, before, after)

    await map_in_slices(keep, [*joined, *removed])
    # Joining adds the group's grants, and removes what a policy forbids to the group.
    change.move(narrows=[*joined, *removed])
    return Membership(joined, removed, skipped, events)


async def set_members(
    change: Change, provider_id: UUID, group: Group, member_ids: Collection[UUID]
) -> Membership:
    """Set the members of an exclusively locked group, among the people that the provider manages.

    Raises ``Invalid`` as ``change_members`` does.
    """
    present = await queries.provided_members(change.session, provider_id, group.id)
    return await change_members(
        change, provider_id, group, add=set(member_ids) - present, remove=present - set(member_ids)
    )
