"""The SCIM users that we announce (RFC 7643 section 4.1): narrower than the standard's, since what is not kept need not
be guarded. A password, an address or a telephone number has no place here, and is dropped wherever one is sent.

It stands here because the settings of a provider name paths into it; ``adapters/scim`` serves it.
"""

from typing import Annotated, Any, ClassVar

from pydantic import Field, PrivateAttr
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
    """What the directory calls the person; unique among its users, whatever its case."""
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
