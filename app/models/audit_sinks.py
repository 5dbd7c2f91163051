"""The table of audit sinks: their endpoints and the state of the delivery."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Index, LargeBinary, text
from sqlmodel import Field

from app.models.base import ObjectRow

MAX_BATCH_EVENTS = 500
"""Events per batch."""


class AuditSink(ObjectRow, table=True):
    """A destination of the audit log. Delivery updates the fields after ``ended_at`` without a new revision."""

    __tablename__ = "audit_sinks"
    __table_args__ = (Index("ix_audit_sinks_lower_name_id", text("lower(name)"), "id"),)

    name: str
    description: str | None = None
    url: str
    format: str
    compression: str = Field(default="none", sa_column_kwargs={"server_default": "none"})
    status: str = Field(default="active", sa_column_kwargs={"server_default": "active"})
    credential_kind: str = Field(default="none", sa_column_kwargs={"server_default": "none"})
    key_id: str | None = None
    sealed: bytes | None = Field(default=None, sa_type=LargeBinary)
    """The header to send, encrypted and bound by associated data to this sink and the origin of its URL."""
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    epoch: int
    """With the next two fields: the position up to which all events were accepted."""
    xact: int = Field(sa_type=BigInteger)
    seq: int = Field(sa_type=BigInteger)
    batch_epoch: int | None = None
    """With the next three fields: the end of the current batch, so that a retry sends exactly the same batch."""
    batch_xact: int | None = Field(default=None, sa_type=BigInteger)
    batch_seq: int | None = Field(default=None, sa_type=BigInteger)
    batch_checkpoint: int | None = Field(default=None, sa_type=BigInteger)
    batch_events: int = Field(default=MAX_BATCH_EVENTS, sa_column_kwargs={"server_default": text("500")})
    """The maximum of events per batch, lowered when the endpoint rejects a batch as too large."""
    checkpoint: int | None = Field(default=None, sa_type=BigInteger)
    """The tree size of the last accepted checkpoint."""
    checkpoint_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    lease: UUID | None = None
    """The worker that holds the lease. No other worker sends until ``leased_until``."""
    leased_until: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    due_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )
    failures: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    failing_since: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    status_code: int | None = None
    error: str | None = None
    delivered_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    missed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """When retention dropped events that were not delivered to this sink."""
