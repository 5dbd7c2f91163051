"""Tables of what gives and limits access: grants, policies, approvals, quotas, and the versions of all of them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Index, Integer, LargeBinary, text
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import UUID as PgUuid
from sqlmodel import Field, SQLModel

from app.models.base import ObjectRow, empty_by_default, now_by_default


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
    since: datetime = now_by_default()


class Policy(ObjectRow, table=True):
    """A Cedar policy: its draft text, and the published text, which decides.

    ``version`` counts the publications. It and the ``published_`` fields are null before the first one.
    """

    __tablename__ = "policies"
    __table_args__ = (
        Index("uq_policies_name", sql("lower(name)"), unique=True, postgresql_where=sql("ended_at IS NULL")),
        Index("ix_policies_published", "id", postgresql_where=sql("status = 'published'")),
    )

    name: str
    description: str | None = None
    text: str
    mode: str = Field(default="enforce", sa_column_kwargs={"server_default": "enforce"})
    tests: list[dict[str, Any]] = empty_by_default(list, JSONB, "'[]'")
    status: str = Field(default="draft", sa_column_kwargs={"server_default": "draft"})
    version: int | None = None
    published_text: str | None = None
    published_mode: str | None = None
    published_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class Approval(ObjectRow, table=True):
    """An approval of a call, bound to its contents, or of a person's request for access to a server.

    ``binding`` is a digest of everything that binds it, including the policies that require it. ``event_id`` is the
    event of the requesting call, or of the access request. ``asked`` counts the calls that requested it, and
    ``consumed_by`` is the call that used it. An overdue approval becomes ``expired`` at the latest when the next one is
    requested.

    For access: ``access_tools`` and ``access_expires_at`` are what was requested, ``granted_tools`` and
    ``granted_expires_at`` what was granted, with the grant ``grant_id``. The owners of the server decide.
    """

    __tablename__ = "approvals"
    __table_args__ = (
        Index("uq_approvals_pending", "binding", unique=True, postgresql_where=text("state = 'pending'")),
        Index("ix_approvals_binding", "binding"),
        Index("ix_approvals_waiting", "identity_id", "token_id", postgresql_where=text("state = 'pending'")),
        Index("ix_approvals_approver_group_id", "approver_group_id", "id"),
        Index("ix_approvals_access", "server_id", "id", postgresql_where=text("kind = 'access'")),
        Index("ix_approvals_open", "id", postgresql_where=text("state = 'pending'")),
        Index("ix_approvals_consumed_by", "consumed_by", postgresql_where=text("consumed_by IS NOT NULL")),
    )

    kind: str
    state: str = Field(default="pending", sa_column_kwargs={"server_default": "pending"})
    identity_id: UUID = Field(foreign_key="identities.id", index=True)
    token_id: UUID | None = Field(default=None, index=True)
    server_id: UUID | None = None
    tool: str | None = None
    arguments_digest: bytes | None = Field(default=None, sa_type=LargeBinary)
    definition_digest: bytes | None = Field(default=None, sa_type=LargeBinary)
    tool_risk: str | None = None
    policy_ids: list[UUID] | None = Field(default=None, sa_type=ARRAY(PgUuid))
    policy_versions: list[int] | None = Field(default=None, sa_type=ARRAY(Integer))
    approver_group_id: UUID | None = None
    approver_group: str | None = None
    binding: bytes | None = Field(default=None, sa_type=LargeBinary)
    event_id: UUID | None = Field(default=None, index=True)
    asked: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})
    reason: str | None = None
    decided_by: UUID | None = None
    decided_by_type: str | None = None
    decided_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    decision_reason: str | None = None
    expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    consumed_by: UUID | None = None
    consumed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    access_tools: dict[str, Any] | None = Field(default=None, sa_type=JSONB(none_as_null=True))
    access_expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    granted_tools: dict[str, Any] | None = Field(default=None, sa_type=JSONB(none_as_null=True))
    granted_expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    grant_id: UUID | None = None


class QuotaUse(SQLModel, table=True):
    """The used part of a durable quota in a window."""

    __tablename__ = "quota_uses"

    quota_key: str = Field(primary_key=True)
    window_start: datetime = Field(primary_key=True, sa_type=DateTime(timezone=True))
    used: int = 0


class AccessVersion(SQLModel, table=True):
    """The version of an object that decisions depend on, in a narrow row. Only those of sessions are deleted."""

    __tablename__ = "access_versions"
    __table_args__ = ({"postgresql_with": {"fillfactor": 70}},)

    id: UUID = Field(primary_key=True)
    version: int = Field(sa_type=BigInteger)
