"""SCIM users of a provider: identities that the provider keeps."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from scim2_models import NotFoundException, PreconditionFailedException, Resource
from sqlalchemy import select
from sqlmodel import col

from app.adapters.scim.people import InGroup, said_of, shown_user, version_of
from app.adapters.scim.work import Work
from app.features.identities.offboard import offboard_identity
from app.features.identities.offboard_schemas import Offboard
from app.features.identities.provision import (
    Directory,
    Person,
    add_person,
    change_person,
    find_person,
    forget_person,
)
from app.features.identities.service import reinstate_identity
from app.http.authorization import Permission, authorize
from app.http.etags import Precondition
from app.lib.ids import EVENT, IDENTITY, format_id, parse_id
from app.models.groups import Group, GroupMember
from app.models.identities import Identity, ScimUser

REASON = "deprovisioned by SCIM"


async def get(work: Work, user_id: str, *, lock: bool) -> Resource[Any]:
    """A user; locked when it is to be changed. Raises ``NotFoundException`` and ``NotFound``."""
    return await _show(work, await _find(work, user_id, lock=lock))


async def create(work: Work, resource: Any) -> Resource[Any]:
    """Make a user, and the identity where nobody is it yet. Raises ``Conflict`` and ``InvalidValueException``."""
    person = await add_person(work.session, _directory(work), said_of(resource, work.settings))
    _note(work, person)
    await _set_active(work, person, resource.active)
    return await _show(work, person)


async def update(work: Work, resource: Any, expected_version: str | None) -> Resource[Any]:
    """Bring a user to this state. Where ``active`` is None its status stays.

    Raises ``NotFound``, ``PreconditionFailedException``, ``Conflict`` and ``InvalidValueException``.
    """
    person = await _find(work, str(resource.id), lock=True)
    await _check_version(work, person, expected_version)
    said = said_of(resource, work.settings)
    if resource.active is False:
        # Before they are called something else, so that nobody gets in any more as who they were.
        await _set_active(work, person, False)
    if await change_person(work.session, _directory(work), person, said):
        _note(work, person)
    await _set_active(work, person, resource.active)
    return await _show(work, person)


async def delete(work: Work, user_id: str, expected_version: str | None) -> None:
    """Offboard a user, who is known here no more. Raises ``NotFound`` and ``PreconditionFailedException``."""
    person = await _find(work, user_id, lock=True)
    await _check_version(work, person, expected_version)
    await _set_active(work, person, False)
    await forget_person(work.session, person)
    _note(work, person)


async def present(work: Work, rows: Iterable[tuple[Identity, ScimUser]]) -> list[Resource[Any]]:
    """These users as SCIM shows them, each with its groups, in the order of ``rows``."""
    listed = list(rows)
    groups = await _groups_of(work, [identity.id for identity, _ in listed])
    return [shown_user(identity, user, groups[identity.id]) for identity, user in listed]


async def _find(work: Work, user_id: str, *, lock: bool) -> Person:
    try:
        id = parse_id(IDENTITY, user_id)
    except ValueError:
        raise NotFoundException from None
    return await find_person(work.session, work.provider_id, id, lock=lock)


async def _show(work: Work, person: Person) -> Resource[Any]:
    return (await present(work, [(person.identity, person.user)]))[0]


async def _check_version(work: Work, person: Person, expected: str | None) -> None:
    if expected is None:
        return
    groups = await _groups_of(work, [person.identity.id])
    if version_of(person.identity, groups[person.identity.id]) != expected:
        raise PreconditionFailedException


async def _set_active(work: Work, person: Person, active: bool | None) -> None:
    """Carry out what a directory says of a person's status, if it says anything."""
    status = person.identity.status
    if active is False and status != "offboarded":
        authorize(work.caller, Permission.IDENTITIES_OFFBOARD)
        ended = await offboard_identity(
            work.session,
            work.caller,
            person.identity.id,
            Offboard(reason=REASON),
            Precondition(None),
            signer=work.signer,
            via="scim",
            dry_run=False,
            request_id=work.request_id,
        )
        _note(work, person)
        if ended.receipt_id is not None:
            work.effects.append(format_id(EVENT, ended.receipt_id))
    elif active is True and status != "active":
        await reinstate_identity(
            work.session, work.caller, person.identity, None, work.request_id, by_directory=True
        )
        _note(work, person)


async def _groups_of(work: Work, identity_ids: Sequence[UUID]) -> dict[UUID, list[InGroup]]:
    """The provider's groups that each of them is in; of others a directory knows nothing."""
    found: dict[UUID, list[InGroup]] = {id: [] for id in identity_ids}
    query = (
        select(col(GroupMember.identity_id), col(Group.id), col(Group.name))
        .join(Group, col(Group.id) == col(GroupMember.group_id))
        .where(
            col(GroupMember.identity_id).in_(found),
            col(Group.provider_id) == work.provider_id,
            col(Group.ended_at).is_(None),
        )
        .order_by(col(Group.name), col(Group.id))
    )
    for identity_id, group_id, name in await work.session.execute(query):
        found[identity_id].append(InGroup(group_id, name))
    return found


def _directory(work: Work) -> Directory:
    return Directory(work.provider_id, work.caller, work.request_id)


def _note(work: Work, person: Person) -> None:
    work.effects.append(format_id(IDENTITY, person.identity.id))
