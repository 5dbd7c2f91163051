"""Table of grants."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from app.models.base import ObjectRow


class Grant(ObjectRow, table=True):
    """A durable entitlement of one identity or one group. Its history is in ``object_versions``."""

    __tablename__ = "grants"
    __table_args__ = (
        Index("ix_grants_expiry_id", text("coalesce(expires_at, 'infinity'::timestamptz)"), "id"),
        CheckConstraint("(identity_id IS NULL) <> (group_id IS NULL)", name="one_principal"),
    )

    identity_id: UUID | None = Field(default=None, foreign_key="identities.id", index=True)
    group_id: UUID | None = Field(default=None, foreign_key="groups.id", index=True)
    servers: dict[str, Any] = Field(sa_type=JSONB)
    tools: dict[str, Any] = Field(sa_type=JSONB)
    resources: bool
    prompts: bool
    not_before: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    reason: str | None = None
    approval_id: UUID | None = None
    """The access request that it was created for."""
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class GrantUse(SQLModel, table=True):
    """When a part of a grant was last used: a tool of a server, or its resources or prompts (``part``, without a tool).

    Written at most once a minute, and kept independently of the audit log's retention."""

    __tablename__ = "grant_uses"

    grant_id: UUID = Field(primary_key=True)
    server_id: UUID = Field(primary_key=True)
    part: str = Field(primary_key=True)
    tool: str = Field(primary_key=True)
    last_used_at: datetime = Field(sa_type=DateTime(timezone=True))


class GrantUser(SQLModel, table=True):
    """When an identity last used a grant."""

    __tablename__ = "grant_users"

    grant_id: UUID = Field(primary_key=True)
    identity_id: UUID = Field(primary_key=True)
    last_used_at: datetime = Field(sa_type=DateTime(timezone=True))


class UseWatch(SQLModel, table=True):
    """Since when uses of ``grants`` are recorded."""

    __tablename__ = "use_watches"

    subject: str = Field(primary_key=True)
    since: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )
