"""Tables of groups and memberships."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, Index, text
from sqlmodel import Field, SQLModel

from app.lib.ids import new_id
from app.models.base import ObjectRow


class Group(ObjectRow, table=True):
    """A set of identities that can receive grants."""

    __tablename__ = "groups"
    __table_args__ = (
        Index("ix_groups_lower_name_id", text("lower(name)"), "id"),
        Index("uq_groups_name", text("coalesce(provider_id::text, '')"), text("lower(name)"),
              unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("ix_groups_provider_id_external_id", "provider_id", "external_id",
              postgresql_where=text("ended_at IS NULL AND provider_id IS NOT NULL")),
    )  # fmt: skip

    name: str
    description: str | None = None
    external_id: str | None = None
    source: str = Field(default="manual", sa_column_kwargs={"server_default": "manual"})
    provider_id: UUID | None = Field(default=None, foreign_key="identity_providers.id")
    owner_group_id: UUID | None = Field(default=None, foreign_key="groups.id")
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class GroupMember(SQLModel, table=True):
    """A current membership. Past ones are in ``object_versions`` under the same id."""

    __tablename__ = "group_members"
    __table_args__ = (Index("uq_group_members_pair", "group_id", "identity_id", unique=True),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    group_id: UUID = Field(foreign_key="groups.id")
    identity_id: UUID = Field(foreign_key="identities.id", index=True)
    created_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )
