"""Between a SCIM user and an identity: what a directory says of a person, and how it is shown again. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from scim2_models import Context, InvalidValueException, Meta, Path, Reference, Resource

from app.adapters.scim.models import DirectoryUser
from app.features.identities.provision import LinkedBy, Said
from app.features.identities.schemas import Email, ExternalId
from app.features.identity_providers.provisioning_schemas import ScimSettings
from app.http.schemas import Name, UserName
from app.http.selectors import LabelValue
from app.lib.ids import GROUP, IDENTITY, format_id
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
