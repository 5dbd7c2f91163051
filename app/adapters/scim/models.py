"""The announced SCIM resources, limits and tolerance.

Some directories build their user model from ``/Schemas`` and then send all attributes of a person; Canaille fails on
attributes that are missing there. The standard's other attributes (RFC 7643 section 4.1) are therefore announced as
read-only and never returned, so that compliant clients do not send them. If they are sent anyway, including a password,
they are dropped.
"""

from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import Field
from scim2_models import (
    URN,
    Attribute,
    AuthenticationScheme,
    Bulk,
    CaseExact,
    ChangePassword,
    ComplexAttribute,
    ETag,
    External,
    Filter,
    Mutability,
    Pagination,
    Patch,
    Reference,
    Required,
    Resource,
    ResourceType,
    Returned,
    Schema,
    ScimPolicy,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
    Uniqueness,
)
from scim2_models import User as StandardUser

from app.features.identity_providers.scim_user import DirectoryUser, EnterpriseUser, User
from app.http.requests import BODY_LIMIT

__all__ = ["MAX_RESULTS", "DirectoryUser", "EnterpriseUser", "Group", "GroupMember", "User", "make_provider"]


class Announced(ScimProvider):
    """The service's description, including the standard's attributes that are not stored."""

    @cached_property
    def schemas(self) -> tuple[Schema, ...]:
        """The response of ``/Schemas``."""
        return tuple(_whole(schema) if schema.id == User.__schema__ else schema for schema in super().schemas)


def _whole(schema: Schema) -> Schema:
    kept = list(schema.attributes or [])
    names = {attribute.name for attribute in kept}
    rest = [one for one in StandardUser.to_schema().attributes or [] if one.name not in names]
    return schema.model_copy(update={"attributes": [*kept, *map(_not_kept, rest)]})


def _not_kept(attribute: Attribute) -> Attribute:
    parts = [_not_kept(part) for part in attribute.sub_attributes or []]
    return attribute.model_copy(
        update={
            "mutability": Mutability.read_only,
            "returned": Returned.never,
            "required": Required.false,
            "sub_attributes": parts or None,
        }
    )


MAX_RESULTS = 200
MAX_OPERATIONS = 100
"""The maximum number of operations of a bulk request, which is one transaction."""
PAGE_SIZE = 100
CURSOR_LIFETIME_S = 3600


class GroupMember(ComplexAttribute):
    """A member of a group."""

    value: Annotated[str | None, Mutability.immutable, CaseExact.true] = None
    """The id of the user."""
    ref: Annotated[Reference["User"] | None, Mutability.immutable] = Field(  # type: ignore[type-arg]
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    """The address of the user."""
    type: Annotated[str | None, Mutability.immutable] = Field(None, examples=["User"])
    """Always ``User``, since groups cannot be nested."""
    display: Annotated[str | None, Mutability.read_only, Returned.request] = None
    """The display name of the user."""


class Group(Resource[Any]):
    """A group of people that receive access together."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:Group")

    display_name: Annotated[str | None, Uniqueness.server, Required.true] = None
    """The name; unique among the directory's groups, ignoring case."""
    members: list[GroupMember] | None = None
    """The members of the group."""
    Members: ClassVar[type[ComplexAttribute]] = GroupMember


# Entra ID removes members by value, and sets the value of an email address that does not exist yet. Unknown attributes
# are dropped rather than refused, since directories send all that they have.
POLICY = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)


def make_provider() -> ScimProvider:
    """Build the responses of ``/ServiceProviderConfig``, ``/ResourceTypes`` and ``/Schemas``."""
    return Announced(
        models=[User, EnterpriseUser, Group],
        resource_types=[ResourceType.from_resource(DirectoryUser), ResourceType.from_resource(Group)],
        config=ServiceProviderConfig(
            patch=Patch(supported=True),
            bulk=Bulk(supported=True, max_operations=MAX_OPERATIONS, max_payload_size=BODY_LIMIT),
            filter=Filter(supported=True, max_results=MAX_RESULTS),
            change_password=ChangePassword(supported=False),
            sort=Sort(supported=True),
            # Entity tags are supported; see ``Service.etag_supported`` for why that is not announced.
            etag=ETag(supported=False),
            authentication_schemes=[
                AuthenticationScheme(
                    type=AuthenticationScheme.Type.oauthbearertoken,
                    name="OAuth Bearer Token",
                    description="The client secret of the service account that the provider's settings name.",
                    spec_uri=Reference[External]("https://www.rfc-editor.org/rfc/rfc6750"),
                    primary=True,
                )
            ],
            pagination=Pagination(
                cursor=True,
                index=True,
                default_pagination_method=Pagination.DefaultPaginationMethod.index,
                default_page_size=PAGE_SIZE,
                max_page_size=MAX_RESULTS,
                cursor_timeout=CURSOR_LIFETIME_S,
            ),
        ),
        policy=POLICY,
    )
