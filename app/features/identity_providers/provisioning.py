"""Who provisions for a provider, and who tells of its people: what is checked when that is set, and who a caller is.

The SCIM users that we announce (RFC 7643 section 4.1): narrower than the standard's, since what is not kept need not
be guarded. A password, an address or a telephone number has no place here, and is dropped wherever one is sent.

It stands here because the settings of a provider name paths into it; ``adapters/scim`` serves it.
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
    """The whole name, as it is shown."""
    family_name: str | None = None
    """The family name."""
    given_name: str | None = None
    """The given name."""


class UserEmail(ComplexAttribute):
    """One address of a person."""

    class Type(ExtensibleStringEnum):
        """What an address is for."""

        work = "work"
        home = "home"
        other = "other"

    value: str | None = None
    """The address. Any text: directories hold addresses that no standard allows, and a leaver has to be let go
    with them."""
    display: str | None = None
    """How it is shown."""
    type: Type | None = None
    """What it is for."""
    primary: bool | None = None
    """Whether it is the one to use."""


class UserGroup(ComplexAttribute):
    """A group that a person is in; groups say who is in them."""

    value: Annotated[str | None, Mutability.read_only, CaseExact.true] = None
    """The id of the group."""
    ref: Annotated[Reference["Group"] | None, Mutability.read_only] = Field(  # type: ignore[name-defined] # noqa: F821
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    """Where the group is."""
    display: Annotated[str | None, Mutability.read_only] = None
    """The name of the group."""
    type: Annotated[str | None, Mutability.read_only] = Field(None, examples=["direct"])
    """Always direct."""


class User(Resource[AnyExtension]):
    """A person whom a directory provisions."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:User")

    user_name: Annotated[str | None, Uniqueness.server, Required.true] = None
    """What the directory calls the person; unique among its users, ignoring case."""
    name: UserName | None = None
    """The components of the person's name."""
    Name: ClassVar[type[ComplexAttribute]] = UserName
    display_name: str | None = None
    """What people call the person."""
    title: str | None = None
    """The person's title."""
    user_type: str | None = None
    """How the person belongs to the organisation: Employee, Contractor."""
    preferred_language: str | None = None
    """The language that the person prefers."""
    locale: str | None = None
    """Where the person is, for what is written differently there."""
    timezone: str | None = None
    """The person's time zone."""
    active: bool | None = None
    """Whether the person may use anything here. False ends all that they could do; true brings none of it back."""
    _active_removed: bool = PrivateAttr(False)
    emails: list[UserEmail] | None = None
    """The person's addresses."""
    Emails: ClassVar[type[ComplexAttribute]] = UserEmail
    groups: Annotated[list[UserGroup] | None, Mutability.read_only] = None
    """The groups that the person is in."""
    Groups: ClassVar[type[ComplexAttribute]] = UserGroup


class Manager(ComplexAttribute):
    """Whom a person reports to."""

    value: Annotated[str | None, CaseExact.true] = None
    """The id of the manager, as the directory says it."""
    display_name: Annotated[str | None, Mutability.read_only] = None
    """The name of the manager."""


class EnterpriseUser(Extension):
    """Where a person is in the organisation."""

    __schema__ = URN("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User")

    employee_number: str | None = None
    """The number of the person."""
    cost_center: str | None = None
    """The cost center."""
    organization: str | None = None
    """The organisation."""
    division: str | None = None
    """The division."""
    department: str | None = None
    """The department."""
    manager: Manager | None = None
    """Whom the person reports to."""


DirectoryUser: type[Resource[Any]] = User[EnterpriseUser]
"""A user with the enterprise extension, as it is served."""


# What a policy may not read of a person by such a path: it has these in another way, or they say nothing of them.
_NOT_ATTRIBUTES = frozenset({"id", "meta", "schemas", "groups", "active"})


def names_value(path: str) -> bool:
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
    """What a service account does for a provider; the name of its settings."""

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


async def provider_served(session: AsyncSession, surface: Surface, caller: Caller) -> IdentityProvider:
    """The active provider that this service account serves. Raises ``Forbidden`` when there is none."""
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
    """The settings that a merge patch leaves, ready to store. Raises ``Invalid`` where something is missing."""
    if patch is None:
        return None
    wanted = dict(old or {}) | dict(patch)
    if "attributes" in patch:
        attributes = dict((old or {}).get("attributes", {})) | dict(patch["attributes"])
        wanted["attributes"] = {name: path for name, path in attributes.items() if path is not None}
    try:
        return _SCHEMAS[surface].model_validate(wanted).model_dump(mode="json")
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
    wanted: Mapping[str, Any],
) -> None:
    """Check what is to be stored of either surface. Raises ``Invalid``, ``Forbidden`` and ``Conflict``."""
    for surface in Surface:
        settings = wanted.get(surface.value)
        if settings is None:
            continue
        for name, path in settings.get("attributes", {}).items():
            _check_path(f"/{surface.value}/attributes/{name}", path)
        if settings["service_account_id"] is not None:
            await _check_account(session, caller, provider_id, surface, settings["service_account_id"])
        elif settings.get("delivery") == "push":
            raise Invalid.field(
                "/signals/service_account_id", "required", "Who pushes needs a service account to do it as."
            )
        for name in ("issuer", "jwks_uri"):
            if settings.get(name) is not None:
                _check_address(policy, f"/{surface.value}/{name}", settings[name])


async def _check_account(
    session: AsyncSession, caller: Caller, provider_id: UUID | None, surface: Surface, account: str
) -> None:
    pointer = f"/{surface.value}/service_account_id"
    id = parse_id(SERVICE_ACCOUNT, account)
    # Of two providers that name it at once, the second sees the first.
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
    named = col(IdentityProvider.settings)[surface.value]["service_account_id"].astext
    query = select(col(IdentityProvider.id)).where(
        named == account, col(IdentityProvider.ended_at).is_(None), col(IdentityProvider.id) != provider_id
    )
    if (await session.execute(query.limit(1))).first() is not None:
        raise Conflict(
            "Another provider names this service account: whose users it owns would not be clear. Make one for each.",
            code="service_account_in_use",
            errors=[FieldError(pointer, "service_account_in_use", "another provider names it")],
        )


def _check_path(pointer: str, path: str) -> None:
    if not names_value(path):
        raise Invalid.field(
            pointer,
            "unknown_path",
            "This is not the path of a text of a SCIM user here: GET /scim/v2/Schemas lists the attributes.",
        )


def _check_address(policy: AddressPolicy, pointer: str, url: str) -> None:
    """An https address that may be connected to; plain http to this machine alone."""
    try:
        origin = policy.check_url(url)
    except ForbiddenUrl as error:
        raise Invalid.field(
            pointer, "forbidden_url", f"{error.reason[:1].upper()}{error.reason[1:]}."
        ) from None
    if origin.scheme != "https" and origin.host not in {"localhost", "127.0.0.1", "::1"}:
        raise Invalid.field(pointer, "forbidden_url", "This has to be an https address.")
