"""The announced SCIM user (RFC 7643 section 4.1). The SCIM settings of a provider name paths into it.

It is narrower than the standard's, so that no unneeded data is stored: passwords, postal addresses and phone numbers
are dropped.
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
    return isinstance(binding.target_type, type) and issubclass(binding.target_type, str)
