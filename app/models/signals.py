"""Tables of Shared Signals: the processed events and their streams."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, Index, LargeBinary, text
from sqlmodel import Field, SQLModel

from app.models.base import ObjectRow

_IDENTITY_PROVIDERS = "identity_providers.id"


class SignalEvent(SQLModel, table=True):
    """A processed event token. ``jti`` is unique per provider and issuer, forever (RFC 8417 section 2.2).

    It is unique per provider so that one provider cannot use up the ``jti`` of another one's event.
    """

    __tablename__ = "signal_events"

    provider_id: UUID = Field(primary_key=True)
    issuer: str = Field(primary_key=True)
    jti: str = Field(primary_key=True)
    event_type: str
    event_id: UUID
    """The audit event with its result."""
    received_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )


class SignalStream(ObjectRow, table=True):
    """The stream of a provider and its state.

    ``revision`` increments when the configuration changes, not when events arrive.
    """

    __tablename__ = "signal_streams"
    __table_args__ = (
        Index("uq_signal_streams_provider_id", "provider_id", unique=True),
        Index("ix_signal_streams_poll_at", "poll_at", postgresql_where=text("poll_at IS NOT NULL")),
    )

    provider_id: UUID = Field(foreign_key=_IDENTITY_PROVIDERS)
    issuer: str
    """The stream's transmitter. The rest of the row applies only to it."""
    stream_id: str | None = None
    """The stream id that the transmitter assigned."""
    delivery: str | None = None
    """The delivery method with which the stream was created."""
    poll_url: str | None = None
    status: str = Field(default="unknown", sa_column_kwargs={"server_default": "unknown"})
    """The status that the transmitter reports: enabled, paused or disabled."""
    key_id: str | None = None
    sealed: bytes | None = Field(default=None, sa_type=LargeBinary)
    """The encrypted access token for the transmitter's API."""
    verification_state: str | None = None
    verification_asked_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    verified_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    received_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    polled_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    poll_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """When the stream is polled next; while a worker polls it, when another worker may take over."""
    failures: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    failing_since: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    error: str | None = None
