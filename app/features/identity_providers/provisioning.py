"""The SCIM and Shared Signals settings of a provider, and the service accounts that serve them.

Also the announced SCIM user (RFC 7643 section 4.1), since the settings name paths into it; ``adapters/scim`` serves it.
It is narrower than the standard's, so that no unneeded data is stored: passwords, postal addresses and phone numbers
are dropped.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import Field, PrivateAttr, ValidationError
from scim2_models import (
    URN,
    CaseExact,
    ComplexAttribute,
    ExtensibleStringEnum,
    Extension,
    InvalidPathException,
    Mutability,
    Path,
    Reference,
    Required,
    Resource,
    Uniqueness,
)
from scim2_models.resources.resource import AnyExtension
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import Conflict, FieldError, Forbidden, Invalid
from app.features.identity_providers import queries
from app.features.identity_providers.schemas import ScimSettings, SignalsSettings
from app.http.authorization import ROLE_PERMISSIONS, Caller, Permission, authorize_giving
from app.lib.ids import SERVICE_ACCOUNT, format_id, parse_id
from app.models.identity_providers import IdentityProvider
from app.outbound.http import AddressPolicy, ForbiddenUrl


class UserName(ComplexAttribute):
    """The components of a person's name."""

    formatted: str | None = None
    """The full name, formatted for display."""
    family_name: str | None = None
    """The family name."""
    given_name: str | None = None
    """The given name."""


class UserEmail(ComplexAttribute):
    """An email address of a person."""

    class Type(ExtensibleStringEnum):
        """The type of an address."""

        work = "work"
        home = "home"
        other = "other"

    value: str | None = None
    """The address. Any text: directories hold addresses that no standard allows, and the person must still be
    offboarded."""
    display: str | None = None
    """The address, formatted for display."""
    type: Type | None = None
    """The type of the address."""
    primary: bool | None = None
    """Whether it is the preferred address."""


class UserGroup(ComplexAttribute):
    """A group that a person is in. It is changed at the group."""

    value: Annotated[str | None, Mutability.read_only, CaseExact.true] = None
    """The id of the group."""
    ref: Annotated[Reference["Group"] | None, Mutability.read_only] = Field(  # type: ignore[name-defined] # noqa: F821
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    """The URL of the group."""
    display: Annotated[str | None, Mutability.read_only] = None
    """The name of the group."""
    type: Annotated[str | None, Mutability.read_only] = Field(None, examples=["direct"])
    """Always ``direct``."""


class User(Resource[AnyExtension]):
    """A person provisioned by a directory."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:User")

    user_name: Annotated[str | None, Uniqueness.server, Required.true] = None
    """The user name in the directory; unique among its users, ignoring case."""
    name: UserName | None = None
    """The components of the person's name."""
    Name: ClassVar[type[ComplexAttribute]] = UserName
    display_name: str | None = None
    """The display name of the person."""
    title: str | None = None
    """The person's title."""
    user_type: str | None = None
    """The relationship to the organization, such as Employee or Contractor."""
    preferred_language: str | None = None
    """The preferred language of the person."""
    locale: str | None = None
    """The locale for formats such as dates and numbers."""
    timezone: str | None = None
    """The person's time zone."""
    active: bool | None = None
    """Whether the person is active. False offboards them; true reinstates them without their former access."""
    _active_removed: bool = PrivateAttr(False)
    emails: list[UserEmail] | None = None
    """The person's addresses."""
    Emails: ClassVar[type[ComplexAttribute]] = UserEmail
    groups: Annotated[list[UserGroup] | None, Mutability.read_only] = None
    """The groups that the person is in."""
    Groups: ClassVar[type[ComplexAttribute]] = UserGroup


class Manager(ComplexAttribute):
    """The manager of a person."""

    value: Annotated[str | None, CaseExact.true] = None
    """The id of the manager in the directory."""
    display_name: Annotated[str | None, Mutability.read_only] = None
    """The name of the manager."""


class EnterpriseUser(Extension):
    """The place of a person in the organization."""

    __schema__ = URN("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User")

    employee_number: str | None = None
    """The employee number of the person."""
    cost_center: str | None = None
    """The cost center."""
    organization: str | None = None
    """The organization."""
    division: str | None = None
    """The division."""
    department: str | None = None
    """The department."""
    manager: Manager | None = None
    """The manager of the person."""


DirectoryUser: type[Resource[Any]] = User[EnterpriseUser]
"""A user with the enterprise extension."""


# Paths that policies cannot read: they have these in another way, or the value says nothing about the person.
_NOT_ATTRIBUTES = frozenset({"id", "meta", "schemas", "groups", "active"})


def is_attribute_path(path: str) -> bool:
    """Whether a path names a value of a user that can become an attribute of an identity."""
    try:
        bound: Any = Path.__class_getitem__(DirectoryUser)(path)
        binding = bound.resolve()
    except (InvalidPathException, ValueError):
        return False
    if binding is None or bound.parts[0] in _NOT_ATTRIBUTES:
        return False
    return bool(binding.target_type is str or _is_text(binding.target_type))


def _is_text(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, str)


class Surface(StrEnum):
    """A protocol that a service account serves for a provider; also the name of its settings."""

    SCIM = "scim"
    SIGNALS = "signals"


_SCHEMAS: dict[Surface, type[ScimSettings] | type[SignalsSettings]] = {
    Surface.SCIM: ScimSettings,
    Surface.SIGNALS: SignalsSettings,
}
_NEEDED = {
    Surface.SCIM: {Permission.IDENTITIES_WRITE, Permission.IDENTITIES_OFFBOARD, Permission.GROUPS_WRITE},
    Surface.SIGNALS: {Permission.IDENTITIES_OFFBOARD},
}


async def require_served_provider(
    session: AsyncSession, surface: Surface, caller: Caller
) -> IdentityProvider:
    """The active provider that this service account serves. Raises ``Forbidden`` if there is none."""
    account = col(IdentityProvider.settings)[surface.value]["service_account_id"].astext
    query = select(IdentityProvider).where(
        account == format_id(SERVICE_ACCOUNT, caller.id),
        col(IdentityProvider.status) == "active",
        col(IdentityProvider.ended_at).is_(None),
    )
    row = await session.scalar(query)
    if caller.kind != "service_account" or row is None:
        raise Forbidden(
            f"No active identity provider names this service account in its {surface.value} settings: set it there."
        )
    return row


def merge_settings(surface: Surface, old: Mapping[str, Any] | None, patch: Mapping[str, Any] | None) -> Any:
    """Apply a merge patch to settings, ready to store. Raises ``Invalid`` if something is missing."""
    if patch is None:
        return None
    merged = dict(old or {}) | dict(patch)
    if "attributes" in patch:
        attributes = dict((old or {}).get("attributes", {})) | dict(patch["attributes"])
        merged["attributes"] = {name: path for name, path in attributes.items() if path is not None}
    try:
        return _SCHEMAS[surface].model_validate(merged).model_dump(mode="json")
    except ValidationError as error:
        errors = [
            FieldError("/" + "/".join([surface.value, *map(str, one["loc"])]), one["type"], one["msg"])
            for one in error.errors()
        ]
        raise Invalid("These settings are not complete.", errors=errors) from None


async def check_settings(
    session: AsyncSession,
    policy: AddressPolicy,
    caller: Caller,
    provider_id: UUID | None,
    values: Mapping[str, Any],
) -> None:
    """Check new settings of both kinds. Raises ``Invalid``, ``Forbidden`` and ``Conflict``."""
    for surface in Surface:
        settings = values.get(surface.value)
        if settings is None:
            continue
        for name, path in settings.get("attributes", {}).items():
            _check_path(f"/{surface.value}/attributes/{name}", path)
        if settings["service_account_id"] is not None:
            await _check_account(session, caller, provider_id, surface, settings["service_account_id"])
        elif settings.get("delivery") == "push":
            raise Invalid.field(
                "/signals/service_account_id", "required", "Delivery by push needs a service account."
            )
        for name in ("issuer", "jwks_uri"):
            if settings.get(name) is not None:
                _check_address(policy, f"/{surface.value}/{name}", settings[name])


async def _check_account(
    session: AsyncSession, caller: Caller, provider_id: UUID | None, surface: Surface, account: str
) -> None:
    pointer = f"/{surface.value}/service_account_id"
    id = parse_id(SERVICE_ACCOUNT, account)
    # Serialized, so that the second of two providers that name it sees the first.
    await queries.lock_account(session, id)
    role = (await queries.account_roles(session, [id])).get(id)
    if role is None:
        raise Invalid.field(pointer, "unknown_service_account", "There is no such service account.")
    authorize_giving(caller, role)
    if not ROLE_PERMISSIONS[role] >= _NEEDED[surface]:
        raise Invalid.field(
            pointer,
            "role_too_narrow",
            f"The role {role.value} may not do this; give it the role provisioner.",
        )
    account_id = col(IdentityProvider.settings)[surface.value]["service_account_id"].astext
    query = select(col(IdentityProvider.id)).where(
        account_id == account,
        col(IdentityProvider.ended_at).is_(None),
        col(IdentityProvider.id) != provider_id,
    )
    if (await session.execute(query.limit(1))).first() is not None:
        raise Conflict(
            "Another provider names this service account: create one for each provider.",
            code="service_account_in_use",
            errors=[FieldError(pointer, "service_account_in_use", "another provider names it")],
        )


def _check_path(pointer: str, path: str) -> None:
    if not is_attribute_path(path):
        raise Invalid.field(
            pointer,
            "unknown_path",
            "This is not the path of a text attribute of a SCIM user: GET /scim/v2/Schemas lists them.",
        )


def _check_address(policy: AddressPolicy, pointer: str, url: str) -> None:
    """Require an https address that may be connected to; plain http only on the loopback interface."""
    try:
        origin = policy.check_url(url)
    except ForbiddenUrl as error:
        raise Invalid.field(
            pointer, "forbidden_url", f"{error.reason[:1].upper()}{error.reason[1:]}."
        ) from None
    if origin.scheme != "https" and origin.host not in {"localhost", "127.0.0.1", "::1"}:
        raise Invalid.field(pointer, "forbidden_url", "This must be an https address.")
