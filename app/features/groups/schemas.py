"""Request and response models of groups and memberships."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from typing_extensions import TypeAliasType

from app.http.pagination import ORDER, ListQuery, Page
from app.http.schemas import (
    CleanText,
    LongText,
    Name,
    Patch,
    RowView,
    ShortText,
    Source,
    Strict,
    absent,
    example,
)
from app.lib.ids import GroupId, IdentityId, IdentityProviderId
from app.models.identities import Group

GROUP_EXAMPLE = "grp_01jdpnwz00e008000000000000"
IDENTITY_EXAMPLE = "idn_01jdpnwz00e008000000000000"
ExternalId = Annotated[str, StringConstraints(min_length=1, max_length=255), CleanText]


class GroupCreate(Strict):
    """A set of identities that can hold grants."""

    model_config = example({"name": "platform", "description": "Platform engineering"})
    name: Name = Field(description="Unique among groups that have not ended, ignoring case.")
    description: LongText | None = None
    external_id: ExternalId | None = None
    owner_group_id: GroupId | None = None


class GroupUpdate(Patch):
    """The fields of a group that can change."""

    model_config = example({"description": "Platform engineering"})
    name: Name = absent()
    description: LongText | None = None
    external_id: ExternalId | None = None
    owner_group_id: GroupId | None = None


GroupOrder = TypeAliasType(
    "GroupOrder", Annotated[Literal["-created_at", "created_at", "-name", "name"], ORDER]
)


class GroupQuery(ListQuery):
    """Filters of the list of groups; each can be repeated, and then any of its values matches."""

    name: list[ShortText] = Field(default_factory=list)
    external_id: list[ShortText] = Field(default_factory=list)
    source: list[Source] = Field(default_factory=list)
    member_id: list[IdentityId] = Field(
        default_factory=list, description="Groups that have one of these members."
    )
    q: ShortText | None = Field(default=None, description="Text in name or description.")
    include: Literal["ended"] | None = Field(
        default=None, description="`ended` shows ended ones too, to callers who may read the audit log."
    )
    sort: GroupOrder = Field(default="-created_at", description="The sort order of the list.")


class MemberQuery(ListQuery):
    """Filters of the list of a group's members."""


class GroupView(RowView):
    """A set of identities that can hold grants."""

    model_config = example(
        {
            "id": GROUP_EXAMPLE,
            "name": "platform",
            "description": "Platform engineering",
            "external_id": None,
            "source": "manual",
            "provider_id": None,
            "owner_group_id": None,
            "ended_at": None,
            "created_at": "2026-01-05T09:00:00Z",
            "updated_at": "2026-01-05T09:00:00Z",
            "revision": 1,
        }
    )
    id: GroupId
    name: str
    description: str | None = Field(description="Its purpose.")
    external_id: str | None = Field(description="Its id in the system that it comes from.")
    source: Source
    provider_id: IdentityProviderId | None = Field(description="The provider that manages it.")
    owner_group_id: GroupId | None = Field(description="The group whose members maintain it.")
    ended_at: datetime | None
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def page(cls, rows: Sequence[Group], next_cursor: str | None) -> Page["GroupView"]:
        """Build a page of views."""
        return Page[GroupView](items=[cls.from_row(row) for row in rows], next_cursor=next_cursor)


class MemberView(RowView):
    """A current membership."""

    model_config = example(
        {"group_id": GROUP_EXAMPLE, "identity_id": IDENTITY_EXAMPLE, "created_at": "2026-01-05T09:00:00Z"},
        title="GroupMember",
    )
    group_id: GroupId
    identity_id: IdentityId
    created_at: datetime = Field(description="When the identity joined.")
