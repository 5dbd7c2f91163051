"""Tables of what a call can consume: approvals and durable quotas."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, LargeBinary
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PgUuid
from sqlmodel import Field, SQLModel

from app.kit.tables import ObjectRow


class Approval(ObjectRow, table=True):
    """One approval, bound to the very call that asked; ``consumed_by`` is the call that used it up."""

    __tablename__ = "approvals"

    kind: str
    state: str = Field(default="pending", sa_column_kwargs={"server_default": "pending"})
    identity_id: UUID = Field(foreign_key="identities.id", index=True)
    token_id: UUID | None = Field(default=None, index=True)
    server_id: UUID | None = None
    tool: str | None = None
    arguments_digest: bytes | None = Field(default=None, sa_type=LargeBinary)
    definition_digest: bytes | None = Field(default=None, sa_type=LargeBinary)
    policy_ids: list[UUID] | None = Field(default=None, sa_type=ARRAY(PgUuid))
    approver_group_id: UUID | None = None
    reason: str | None = None
    decided_by: UUID | None = None
    expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    consumed_by: UUID | None = None


class QuotaUse(SQLModel, table=True):
    """How much of a durable quota is used in a window."""

    __tablename__ = "quota_uses"

    quota_key: str = Field(primary_key=True)
    window_start: datetime = Field(primary_key=True, sa_type=DateTime(timezone=True))
    used: int = 0
