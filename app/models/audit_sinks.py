"""The table of sinks: where the audit trail goes, how far it got there, and how its endpoint fares."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Index, LargeBinary, text
from sqlmodel import Field

from app.models.base import ObjectRow

MOST_EVENTS = 500
"""In a batch."""


class AuditSink(ObjectRow, table=True):
    """Where the trail goes. What stands after ``ended_at`` is moved by whoever delivers, and the revision stays."""

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
    """The header to send, sealed; bound by associated data to this sink and the origin of its URL."""
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    epoch: int
    """With the next two: the position of the trail up to which everything was taken."""
    xact: int = Field(sa_type=BigInteger)
    seq: int = Field(sa_type=BigInteger)
    batch_epoch: int | None = None
    """With the next three: where the batch ends that was begun and not yet taken, so that it is repeated as it was."""
    batch_xact: int | None = Field(default=None, sa_type=BigInteger)
    batch_seq: int | None = Field(default=None, sa_type=BigInteger)
    batch_checkpoint: int | None = Field(default=None, sa_type=BigInteger)
    batch_events: int = Field(default=MOST_EVENTS, sa_column_kwargs={"server_default": text("500")})
    """How many events a batch has at most: fewer where the endpoint finds batches too large."""
    checkpoint: int | None = Field(default=None, sa_type=BigInteger)
    """The size of the tree of the last checkpoint that was taken."""
    checkpoint_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    lease: UUID | None = None
    """Of the worker that has it; nobody else sends until ``leased_until``."""
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
    """When events were dropped by retention that it had not been given."""
