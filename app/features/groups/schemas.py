"""Request and answer models of groups and memberships."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.http.pagination import ListQuery, Page
from app.http.schemas import CleanText, LongText, Name, Patch, ShortText, Source, Strict, absent
from app.lib.ids import GroupId, IdentityId, IdentityProviderId
from app.models.groups import Group, GroupMember

GROUP_EXAMPLE = "grp_01jdpnwz00e008000000000000"
IDENTITY_EXAMPLE = "idn_01jdpnwz00e008000000000000"
ExternalId = Annotated[str, StringConstraints(min_length=1, max_length=255), CleanText]


class GroupCreate(Strict):
    """A set of identities that grants can be made to."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "platform", "description": "Platform engineering"}]},
    )
    name: Name = Field(description="Unique among the groups that are not ended, whatever its case.")
    description: LongText | None = None
    external_id: ExternalId | None = None
    owner_group_id: GroupId | None = None


class GroupUpdate(Patch):
    """What may change of a group."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"description": "Platform engineering"}]}
    )
    name: Name = absent()
    description: LongText | None = None
    external_id: ExternalId | None = None
    owner_group_id: GroupId | None = None


GroupOrder = TypeAliasType(
    "GroupOrder",
    Annotated[
        Literal["-created_at", "created_at", "-name", "name"],
        Field(
            description="What groups are sorted by; `-` before it is from the top. Newest first by default."
        ),
    ],
)


class GroupQuery(ListQuery):
    """Filters of the list of groups; each may be repeated, and then any of its values matches."""

    name: list[ShortText] = Field(default_factory=list)
    external_id: list[ShortText] = Field(default_factory=list)
    source: list[Source] = Field(default_factory=list)
    member_id: list[IdentityId] = Field(default_factory=list, description="Groups that these are in.")
    q: ShortText | None = Field(default=None, description="Text in name or description.")
    include: Literal["ended"] | None = Field(
        default=None, description="`ended` shows ended ones too, to those who may read the audit."
    )
    sort: GroupOrder = Field(default="-created_at", description="What the list is sorted by.")


class MemberQuery(ListQuery):
    """Filters of the list of a group's members."""


class GroupView(BaseModel):
    """A set of identities that grants can be made to."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
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
            ]
        },
    )
    id: GroupId
    name: str
    description: str | None = Field(description="What it is for.")
    external_id: str | None = Field(description="What the system that it came from calls it.")
    source: Source
    provider_id: IdentityProviderId | None = Field(description="The provider that keeps it.")
    owner_group_id: GroupId | None = Field(description="The group whose members look after it.")
    ended_at: datetime | None
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_row(cls, row: Group) -> Self:
        """The answer for a stored group."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})

    @classmethod
    def page(cls, rows: Sequence[Group], next_cursor: str | None) -> Page["GroupView"]:
        """The answer for a page of stored groups."""
        return Page[GroupView](items=[cls.from_row(row) for row in rows], next_cursor=next_cursor)


class MemberView(BaseModel):
    """A current membership."""

    model_config = ConfigDict(
        title="GroupMember",
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "group_id": GROUP_EXAMPLE,
                    "identity_id": IDENTITY_EXAMPLE,
                    "created_at": "2026-01-05T09:00:00Z",
                }
            ]
        },
    )
    group_id: GroupId
    identity_id: IdentityId
    created_at: datetime = Field(description="When the identity joined.")

    @classmethod
    def from_row(cls, row: GroupMember) -> Self:
        """The answer for a stored membership."""
        return cls(group_id=row.group_id, identity_id=row.identity_id, created_at=row.created_at)
