"""The announced SCIM resources, limits and tolerance.

Some directories build their user model from ``/Schemas`` and then send all attributes of a person; Canaille fails on
attributes that are missing there. The standard's other attributes (RFC 7643 section 4.1) are therefore announced as
read-only and never returned, so that compliant clients do not send them. If they are sent anyway, including a password,
they are dropped.
"""

from functools import cached_property
from typing import Annotated, Any, ClassVar

import scim2_models as scim
from pydantic import Field

from app.features.identity_providers.scim_user import DirectoryUser, EnterpriseUser, User
from app.http.requests import BODY_LIMIT

__all__ = ["MAX_RESULTS", "DirectoryUser", "EnterpriseUser", "Group", "GroupMember", "User", "make_provider"]


class Announced(scim.ScimProvider):
    """The service's description, including the standard's attributes that are not stored."""

    @cached_property
    def schemas(self) -> tuple[scim.Schema, ...]:
        """The response of ``/Schemas``."""
        return tuple(_whole(schema) if schema.id == User.__schema__ else schema for schema in super().schemas)


def _whole(schema: scim.Schema) -> scim.Schema:
    kept = list(schema.attributes or [])
    names = {attribute.name for attribute in kept}
    rest = [one for one in scim.User.to_schema().attributes or [] if one.name not in names]
    return schema.model_copy(update={"attributes": [*kept, *map(_not_kept, rest)]})


def _not_kept(attribute: scim.Attribute) -> scim.Attribute:
    parts = [_not_kept(part) for part in attribute.sub_attributes or []]
    hidden = {"mutability": scim.Mutability.read_only, "returned": scim.Returned.never}
    optional = {"required": scim.Required.false, "sub_attributes": parts or None}
    return attribute.model_copy(update=hidden | optional)


MAX_RESULTS = 200
MAX_OPERATIONS = 100
"""The maximum number of operations of a bulk request, which is one transaction."""
PAGE_SIZE = 100
CURSOR_LIFETIME_S = 3600


class GroupMember(scim.ComplexAttribute):
    """A member of a group."""

    value: Annotated[str | None, scim.Mutability.immutable, scim.CaseExact.true] = None
    """The id of the user."""
    ref: Annotated[scim.Reference["User"] | None, scim.Mutability.immutable] = Field(  # type: ignore[type-arg]
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    """The address of the user."""
    type: Annotated[str | None, scim.Mutability.immutable] = Field(None, examples=["User"])
    """Always ``User``, since groups cannot be nested."""
    display: Annotated[str | None, scim.Mutability.read_only, scim.Returned.request] = None
    """The display name of the user."""


class Group(scim.Resource[Any]):
    """A group of people that receive access together."""

    __schema__ = scim.URN("urn:ietf:params:scim:schemas:core:2.0:Group")

    display_name: Annotated[str | None, scim.Uniqueness.server, scim.Required.true] = None
    """The name; unique among the directory's groups, ignoring case."""
    members: list[GroupMember] | None = None
    """The members of the group."""
    Members: ClassVar[type[scim.ComplexAttribute]] = GroupMember


# Entra ID removes members by value, and sets the value of an email address that does not exist yet. Unknown attributes
# are dropped rather than refused, since directories send all that they have.
POLICY = scim.ScimPolicy(
    unknown=scim.ScimPolicy.Unknown.ignore,
    remove_value_as_filter=scim.ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=scim.ScimPolicy.UnmatchedPathFilter.create,
)


def make_provider() -> scim.ScimProvider:
    """Build the responses of ``/ServiceProviderConfig``, ``/ResourceTypes`` and ``/Schemas``."""
    return Announced(
        models=[User, EnterpriseUser, Group],
        resource_types=[
            scim.ResourceType.from_resource(DirectoryUser),
            scim.ResourceType.from_resource(Group),
        ],
        config=scim.ServiceProviderConfig(
            patch=scim.Patch(supported=True),
            bulk=scim.Bulk(supported=True, max_operations=MAX_OPERATIONS, max_payload_size=BODY_LIMIT),
            filter=scim.Filter(supported=True, max_results=MAX_RESULTS),
            change_password=scim.ChangePassword(supported=False),
            sort=scim.Sort(supported=True),
            # Entity tags are supported; see ``Service.etag_supported`` for why that is not announced.
            etag=scim.ETag(supported=False),
            authentication_schemes=[
                scim.AuthenticationScheme(
                    type=scim.AuthenticationScheme.Type.oauthbearertoken,
                    name="OAuth Bearer Token",
                    description="The client secret of the service account that the provider's settings name.",
                    spec_uri=scim.Reference[scim.External]("https://www.rfc-editor.org/rfc/rfc6750"),
                    primary=True,
                )
            ],
            pagination=scim.Pagination(
                cursor=True,
                index=True,
                default_pagination_method=scim.Pagination.DefaultPaginationMethod.index,
                default_page_size=PAGE_SIZE,
                max_page_size=MAX_RESULTS,
                cursor_timeout=CURSOR_LIFETIME_S,
            ),
        ),
        policy=POLICY,
    )
