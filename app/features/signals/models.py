"""Tables of Shared Signals: the events that were taken, each once, and the streams that they come by."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, Index, LargeBinary, text
from sqlmodel import Field, SQLModel

from app.kit.tables import ObjectRow

_IDENTITY_PROVIDERS = "identity_providers.id"


class SignalEvent(SQLModel, table=True):
    """One event token that was taken: ``jti`` once for each transmitter, for ever (RFC 8417 section 2.2)."""

    __tablename__ = "signal_events"

    issuer: str = Field(primary_key=True)
    jti: str = Field(primary_key=True)
    provider_id: UUID
    event_type: str
    event_id: UUID
    """The audit event that tells what came of it."""
    received_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )


class SignalStream(ObjectRow, table=True):
    """The stream of one provider, and how it fares; whoever receives moves all but the settings."""

    __tablename__ = "signal_streams"
    __table_args__ = (
        Index("uq_signal_streams_provider_id", "provider_id", unique=True),
        Index("ix_signal_streams_poll_at", "poll_at", postgresql_where=text("poll_at IS NOT NULL")),
    )

    provider_id: UUID = Field(foreign_key=_IDENTITY_PROVIDERS)
    stream_id: str | None = None
    """What the transmitter calls it, once it was made there."""
    poll_url: str | None = None
    status: str = Field(default="unknown", sa_column_kwargs={"server_default": "unknown"})
    """What the transmitter says: enabled, paused, disabled."""
    key_id: str | None = None
    sealed: bytes | None = Field(default=None, sa_type=LargeBinary)
    """The access token for the transmitter's own API, sealed."""
    verification_state: str | None = None
    verification_asked_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    verified_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    received_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    polled_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    poll_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """When it is polled next, or, while a worker polls, when others may."""
    failures: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    error: str | None = None
