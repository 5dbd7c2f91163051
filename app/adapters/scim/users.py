"""SCIM users of a provider: identities that the provider keeps.

Between a SCIM user and an identity: what a directory says of a person, and how it is shown again. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from scim2_models import (
    Context,
    InvalidValueException,
    Meta,
    NotFoundException,
    Path,
    PreconditionFailedException,
    Reference,
    Resource,
)
from sqlalchemy import select
from sqlmodel import col

from app.adapters.scim.models import DirectoryUser
from app.adapters.scim.work import Work
from app.features.identities.offboard import offboard_identity
from app.features.identities.provision import (
    Directory,
    LinkedBy,
    Person,
    Said,
    add_person,
    change_person,
    find_person,
    forget_person,
)
from app.features.identities.schemas import Email, ExternalId, Offboard
from app.features.identities.service import reinstate_identity
from app.features.identity_providers.schemas import ScimSettings
from app.http.authorization import Permission, authorize
from app.http.etags import Precondition
from app.http.schemas import Name, UserName
from app.http.selectors import LabelValue
from app.lib.ids import EVENT, GROUP, IDENTITY, format_id, parse_id
from app.models.groups import Group, GroupMember
from app.models.identities import Identity, ScimUser

LONGEST_TEXT = 1_000
MOST_VALUES = 20

# What has a column, or is not the directory's to say.
_NOT_PROFILE = frozenset({"schemas", "id", "externalId", "meta", "userName", "active", "groups"})
_LINKED_BY: dict[str, LinkedBy | None] = {"userName": "user_name", "externalId": "external_id", "none": None}
_name: TypeAdapter[str] = TypeAdapter(Name)
_comparable: TypeAdapter[str] = TypeAdapter(UserName)
_external_id: TypeAdapter[str] = TypeAdapter(ExternalId)
_email: TypeAdapter[str] = TypeAdapter(Email)
_attribute: TypeAdapter[str] = TypeAdapter(LabelValue)


@dataclass(frozen=True, slots=True)
class InGroup:
    """A group of the provider that a user is in."""

    id: UUID
    name: str


def said_of(user: Any, settings: ScimSettings) -> Said:
    """What a validated user says. Raises ``InvalidValueException``, which names the attribute and not its value."""
    profile = {
        name: value
        for name, value in user.model_dump(scim_ctx=Context.DEFAULT).items()
        if name not in _NOT_PROFILE
    }
    _check_sizes(profile, "")
    if user._active_removed:  # noqa: SLF001
        profile["active"] = None
    shown = user.display_name or (user.name.formatted if user.name else None)
    return Said(
        user_name=_user_name(user.user_name),
        external_id=_fitting(_external_id, "externalId", user.external_id) if user.external_id else None,
        display_name=_fitting(_name, "displayName", shown) if shown else None,
        email=_address(user.emails or []),
        attributes=_attributes(user, settings),
        mapped=frozenset(settings.attributes),
        profile=profile,
        linked_by=_LINKED_BY[settings.link_attribute],
    )


def shown_user(identity: Identity, user: ScimUser, groups: Sequence[InGroup]) -> Resource[Any]:
    """A user as SCIM shows it, but for the locations, which are the service's."""
    shown: Any = DirectoryUser.model_validate(
        {"schemas": [str(DirectoryUser.__schema__)], **user.profile, "userName": user.user_name}
    )
    shown.id = format_id(IDENTITY, identity.id)
    shown.external_id = user.external_id
    shown._active_removed = "active" in user.profile  # noqa: SLF001
    shown.active = None if shown._active_removed else identity.status == "active"  # noqa: SLF001
    shown.groups = [_membership(group) for group in groups] or None
    shown.meta = Meta(
        resource_type="User",
        created=identity.created_at,
        last_modified=identity.updated_at,
        version=version_of(identity, groups),
    )
    found: Resource[Any] = shown
    return found


def version_of(identity: Identity, groups: Sequence[InGroup]) -> str:
    """The weak entity tag: of what the identity says itself, and of the groups that are shown with it."""
    if not groups:
        return f'W/"{identity.revision}"'
    named = "\n".join(sorted(f"{group.id.hex} {group.name}" for group in groups))
    return f'W/"{identity.revision}.{sha256(named.encode()).hexdigest()[:12]}"'


def _membership(group: InGroup) -> Any:
    kind: Any = DirectoryUser.Groups  # type: ignore[attr-defined]
    id = format_id(GROUP, group.id)
    return kind(value=id, ref=Reference(f"Groups/{id}"), display=group.name, type="direct")


def _user_name(value: str | None) -> str:
    """As it was sent, once it is fit to be compared: a directory looks for what it wrote."""
    _fitting(_comparable, "userName", value)
    return value or ""


def _fitting(kind: TypeAdapter[str], name: str, value: str | None) -> str:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise InvalidValueException(detail=f"{name}: {error.errors()[0]['msg']}") from None


def _address(emails: Sequence[Any]) -> str | None:
    """The primary address, else the first for work, else the first; None where it is none by its form."""
    chosen = (
        next((email for email in emails if email.primary), None)
        or next((email for email in emails if email.type == "work"), None)
        or next(iter(emails), None)
    )
    try:
        return None if chosen is None or chosen.value is None else _email.validate_python(chosen.value)
    except ValidationError:
        return None


def _attributes(user: Any, settings: ScimSettings) -> dict[str, str]:
    """What policies read. A value that cannot be one is left out, which denies where a policy needs it: refused
    instead, it would keep a leaver in whose title is too long."""
    found: dict[str, str] = {}
    for name, path in settings.attributes.items():
        value = Path.__class_getitem__(DirectoryUser)(path).get(user, strict=False)
        if isinstance(value, list):
            value = next(iter(value), None)
        try:
            if value is not None:
                found[name] = _attribute.validate_python(str(value))
        except ValidationError:
            continue
    return found


def _check_sizes(value: Any, name: str) -> None:
    """Refuse what is no profile of anybody: texts and lists without end, and NUL, which the filter of a path may hold
    as an escape and the database cannot."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_sizes(inner, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list):
        if len(value) > MOST_VALUES:
            raise InvalidValueException(detail=f"{name}: at most {MOST_VALUES} values")
        for inner in value:
            _check_sizes(inner, name)
    elif isinstance(value, str) and (len(value) > LONGEST_TEXT or "\0" in value):
        raise InvalidValueException(
            detail=f"{name}: at most {LONGEST_TEXT} characters, and no NUL among them"
        )


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
