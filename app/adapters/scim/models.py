"""What is announced to directories: the resources, the limits, and how much of their deviations is borne.

What is announced of users beside what we keep (RFC 7643 section 4.1).

Some directories make their model of a user from ``/Schemas`` and then say all that they have of a person: Canaille
fails on each attribute that is not there. So the standard's other attributes are announced too, as such that nobody
may write and nobody is shown. Who heeds that does not send them, and no password leaves the directory; what is sent all
the same is dropped.
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

from app.features.identity_providers.provisioning import DirectoryUser, EnterpriseUser, User
from app.http.request_limits import BODY_LIMIT

__all__ = ["MOST_RESULTS", "DirectoryUser", "EnterpriseUser", "Group", "GroupMember", "User", "make_provider"]


class Announced(ScimProvider):
    """The description of our service, with all of the standard's attributes of a user."""

    @cached_property
    def schemas(self) -> tuple[Schema, ...]:
        """What ``/Schemas`` says."""
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


MOST_RESULTS = 200
MOST_OPERATIONS = 100
"""Of one bulk request, which is one transaction."""
PAGE_SIZE = 100
CURSOR_LIFETIME_S = 3600


class GroupMember(ComplexAttribute):
    """Somebody in a group."""

    value: Annotated[str | None, Mutability.immutable, CaseExact.true] = None
    """The id of the user."""
    ref: Annotated[Reference["User"] | None, Mutability.immutable] = Field(  # type: ignore[type-arg]
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    """Where the user is."""
    type: Annotated[str | None, Mutability.immutable] = Field(None, examples=["User"])
    """Always a User: groups hold people."""
    display: Annotated[str | None, Mutability.read_only, Returned.request] = None
    """What people call the user."""


class Group(Resource[Any]):
    """People who are given rights together."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:Group")

    display_name: Annotated[str | None, Uniqueness.server, Required.true] = None
    """The name; unique among the directory's groups, ignoring case."""
    members: list[GroupMember] | None = None
    """Who is in it."""
    Members: ClassVar[type[ComplexAttribute]] = GroupMember


# Entra ID removes members by value, and sets the value of an address that is not there yet. What we do not keep is
# dropped rather than refused: a directory sends all that it has.
POLICY = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)


def make_provider() -> ScimProvider:
    """What ``/ServiceProviderConfig``, ``/ResourceTypes`` and ``/Schemas`` say."""
    return Announced(
        models=[User, EnterpriseUser, Group],
        resource_types=[ResourceType.from_resource(DirectoryUser), ResourceType.from_resource(Group)],
        config=ServiceProviderConfig(
            patch=Patch(supported=True),
            bulk=Bulk(supported=True, max_operations=MOST_OPERATIONS, max_payload_size=BODY_LIMIT),
            filter=Filter(supported=True, max_results=MOST_RESULTS),
            change_password=ChangePassword(supported=False),
            sort=Sort(supported=True),
            # They are sent and honoured; see ``Service.etag_supported`` for why that is not said.
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
                max_page_size=MOST_RESULTS,
                cursor_timeout=CURSOR_LIFETIME_S,
            ),
        ),
        policy=POLICY,
    )
