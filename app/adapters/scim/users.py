"""SCIM users of a provider: translation between SCIM users and identities, and their operations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast
from uuid import UUID

import scim2_models as scim
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select
from sqlmodel import col

from app.adapters.scim.models import DirectoryUser
from app.adapters.scim.work import Work
from app.features.identities import provision
from app.features.identities.schemas import Email, ExternalId
from app.features.identities.service import reinstate_locked
from app.features.identity_providers.schemas import ScimSettings
from app.features.offboarding.offboard import offboard_identity
from app.features.offboarding.schemas import Offboard
from app.http.authorization import Permission, authorize
from app.http.etags import Precondition
from app.http.schemas import Name, UserName
from app.http.selectors import LabelValue
from app.lib.ids import EVENT, GROUP, IDENTITY, format_id, parse_id
from app.models.identities import Group, GroupMember, Identity, ScimUser

MAX_TEXT_LENGTH = 1_000
MAX_VALUES = 20

# Attributes with a column, and read-only ones.
_NOT_PROFILE = frozenset({"schemas", "id", "externalId", "meta", "userName", "active", "groups"})
_LINKED_BY: dict[str, provision.LinkedBy | None] = {
    "userName": "user_name",
    "externalId": "external_id",
    "none": None,
}
_name: TypeAdapter[str] = TypeAdapter(Name)
_comparable: TypeAdapter[str] = TypeAdapter(UserName)
_external_id: TypeAdapter[str] = TypeAdapter(ExternalId)
_email: TypeAdapter[str] = TypeAdapter(Email)
_attribute: TypeAdapter[str] = TypeAdapter(LabelValue)


@dataclass(frozen=True, slots=True)
class InGroup:
    """A group of the provider that a user is a member of."""

    id: UUID
    name: str


def read_profile(user: Any, settings: ScimSettings) -> provision.DirectoryRecord:
    """Translate a validated user. Raises ``InvalidValueException``, which names the attribute but not its value."""
    profile = {
        name: value
        for name, value in user.model_dump(scim_ctx=scim.Context.DEFAULT).items()
        if name not in _NOT_PROFILE
    }
    _check_sizes(profile, "")
    if user._active_removed:  # noqa: SLF001
        profile["active"] = None
    # Stored as it was sent, since directories search for what they wrote; validated for comparisons.
    _validate(_comparable, "userName", user.user_name)
    shown = user.display_name or (user.name.formatted if user.name else None)
    return provision.DirectoryRecord(
        user_name=user.user_name or "",
        external_id=_validate(_external_id, "externalId", user.external_id) if user.external_id else None,
        display_name=_validate(_name, "displayName", shown) if shown else None,
        email=_address(user.emails or []),
        attributes=_attributes(user, settings),
        mapped=frozenset(settings.attributes),
        profile=profile,
        linked_by=_LINKED_BY[settings.link_attribute],
    )


def present_user(identity: Identity, user: ScimUser, groups: Sequence[InGroup]) -> scim.Resource[Any]:
    """Present a user as a SCIM resource, without locations, which the service adds."""
    shown: Any = DirectoryUser.model_validate(
        {"schemas": [str(DirectoryUser.__schema__)], **user.profile, "userName": user.user_name}
    )
    shown.id = format_id(IDENTITY, identity.id)
    shown.external_id = user.external_id
    shown._active_removed = "active" in user.profile  # noqa: SLF001
    shown.active = None if shown._active_removed else identity.status == "active"  # noqa: SLF001
    membership: Any = DirectoryUser.Groups  # type: ignore[attr-defined]
    shown.groups = [
        membership(value=id, ref=scim.Reference(f"Groups/{id}"), display=group.name, type="direct")
        for group in groups
        for id in [format_id(GROUP, group.id)]
    ] or None
    shown.meta = scim.Meta(
        resource_type="User",
        created=identity.created_at,
        last_modified=identity.updated_at,
        version=version_of(identity, groups),
    )
    return cast("scim.Resource[Any]", shown)


def version_of(identity: Identity, groups: Sequence[InGroup]) -> str:
    """The weak entity tag, which covers the identity and the groups in the resource."""
    if not groups:
        return f'W/"{identity.revision}"'
    named = "\n".join(sorted(f"{group.id.hex} {group.name}" for group in groups))
    return f'W/"{identity.revision}.{sha256(named.encode()).hexdigest()[:12]}"'


def _validate(kind: TypeAdapter[str], name: str, value: str | None) -> str:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise scim.InvalidValueException(detail=f"{name}: {error.errors()[0]['msg']}") from None


def _address(emails: Sequence[Any]) -> str | None:
    """The primary email address, otherwise the first of type work, otherwise the first; None if it is invalid."""
    chosen = min(
        emails, key=lambda email: 0 if email.primary else 1 if email.type == "work" else 2, default=None
    )
    try:
        return None if chosen is None or chosen.value is None else _email.validate_python(chosen.value)
    except ValidationError:
        return None


def _attributes(user: Any, settings: ScimSettings) -> dict[str, str]:
    """The attributes for policies. Invalid values are left out, so that policies deny where they need one. Refusing the
    user instead could keep a leaver active whose title is too long."""
    attributes: dict[str, str] = {}
    for name, path in settings.attributes.items():
        value = scim.Path.__class_getitem__(DirectoryUser)(path).get(user, strict=False)
        if isinstance(value, list):
            value = next(iter(value), None)
        try:
            if value is not None:
                attributes[name] = _attribute.validate_python(str(value))
        except ValidationError:
            continue
    return attributes


def _check_sizes(value: Any, name: str) -> None:
    """Reject excessive texts and lists, and NUL, which a path filter can contain as an escape but the database cannot
    store."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_sizes(inner, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list):
        if len(value) > MAX_VALUES:
            raise scim.InvalidValueException(detail=f"{name}: at most {MAX_VALUES} values")
        for inner in value:
            _check_sizes(inner, name)
    elif isinstance(value, str) and (len(value) > MAX_TEXT_LENGTH or "\0" in value):
        raise scim.InvalidValueException(detail=f"{name}: at most {MAX_TEXT_LENGTH} characters, without NUL")


REASON = "deprovisioned by SCIM"


async def get(work: Work, user_id: str, *, lock: bool) -> scim.Resource[Any]:
    """Read a user; ``lock`` it for a change. Raises ``NotFoundException`` and ``NotFound``."""
    return await _show(work, await _find(work, user_id, lock=lock))


async def create(work: Work, resource: Any) -> scim.Resource[Any]:
    """Create a user, and the identity if there is none yet. Raises ``Conflict`` and ``InvalidValueException``."""
    person = await provision.add_person(work.change, work.provider_id, read_profile(resource, work.settings))
    _note(work, person)
    await _set_active(work, person, resource.active)
    return await _show(work, person)


async def update(work: Work, resource: Any, expected_version: str | None) -> scim.Resource[Any]:
    """Replace a user's state. The status stays if ``active`` is None.

    Raises ``NotFound``, ``PreconditionFailedException``, ``Conflict`` and ``InvalidValueException``.
    """
    person = await _find(work, str(resource.id), lock=True)
    await _check_version(work, person, expected_version)
    record = read_profile(resource, work.settings)
    if resource.active is False:
        # Offboarded before the rename, so that the person cannot sign in under the old name.
        await _set_active(work, person, False)
    if await provision.change_person(work.change, work.provider_id, person, record):
        _note(work, person)
    await _set_active(work, person, resource.active)
    return await _show(work, person)


async def delete(work: Work, user_id: str, expected_version: str | None) -> None:
    """Offboard a user and delete it. Raises ``NotFound`` and ``PreconditionFailedException``."""
    person = await _find(work, user_id, lock=True)
    await _check_version(work, person, expected_version)
    await _set_active(work, person, False)
    await provision.forget_person(work.session, person)
    _note(work, person)


async def present(work: Work, rows: Iterable[tuple[Identity, ScimUser]]) -> list[scim.Resource[Any]]:
    """Present users as SCIM resources with their groups, in the order of ``rows``."""
    listed = list(rows)
    groups = await _groups_of(work, [identity.id for identity, _ in listed])
    return [present_user(identity, user, groups[identity.id]) for identity, user in listed]


async def _find(work: Work, user_id: str, *, lock: bool) -> provision.Person:
    try:
        id = parse_id(IDENTITY, user_id)
    except ValueError:
        raise scim.NotFoundException from None
    return await provision.find_person(work.session, work.provider_id, id, lock=lock)


async def _show(work: Work, person: provision.Person) -> scim.Resource[Any]:
    return (await present(work, [(person.identity, person.user)]))[0]


async def _check_version(work: Work, person: provision.Person, expected: str | None) -> None:
    if expected is None:
        return
    groups = await _groups_of(work, [person.identity.id])
    if version_of(person.identity, groups[person.identity.id]) != expected:
        raise scim.PreconditionFailedException


async def _set_active(work: Work, person: provision.Person, active: bool | None) -> None:
    """Apply the status that a directory sent, if any."""
    status = person.identity.status
    if active is False and status != "offboarded":
        authorize(work.change.caller, Permission.IDENTITIES_OFFBOARD)
        id, body = person.identity.id, Offboard(reason=REASON)
        ended = await offboard_identity(
            work.change, id, body, Precondition(None), signer=work.signer, via="scim"
        )
        _note(work, person)
        if ended.receipt_id is not None:
            work.effects.append(format_id(EVENT, ended.receipt_id))
    elif active is True and status != "active":
        await reinstate_locked(work.change, person.identity)
        _note(work, person)


async def _groups_of(work: Work, identity_ids: Sequence[UUID]) -> dict[UUID, list[InGroup]]:
    """The provider's groups of each identity; other groups are invisible to a directory."""
    groups: dict[UUID, list[InGroup]] = {id: [] for id in identity_ids}
    query = (
        select(col(GroupMember.identity_id), col(Group.id), col(Group.name))
        .join(Group, col(Group.id) == col(GroupMember.group_id))
        .where(
            col(GroupMember.identity_id).in_(groups),
            col(Group.provider_id) == work.provider_id,
            col(Group.ended_at).is_(None),
        )
        .order_by(col(Group.name), col(Group.id))
    )
    for identity_id, group_id, name in await work.session.execute(query):
        groups[identity_id].append(InGroup(group_id, name))
    return groups


def _note(work: Work, person: provision.Person) -> None:
    work.effects.append(format_id(IDENTITY, person.identity.id))
