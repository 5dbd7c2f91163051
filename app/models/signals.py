"""Tables of Shared Signals: the events that were taken, each once, and the streams that they come by."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, Index, LargeBinary, text
from sqlmodel import Field, SQLModel

from app.models.base import ObjectRow

_IDENTITY_PROVIDERS = "identity_providers.id"


class SignalEvent(SQLModel, table=True):
    """One event token that was taken: ``jti`` once for each provider and issuer, for ever (RFC 8417 section 2.2).

    For each provider: whoever may push for one could else have an event of another's taken before it gets there.
    """

    __tablename__ = "signal_events"

    provider_id: UUID = Field(primary_key=True)
    issuer: str = Field(primary_key=True)
    jti: str = Field(primary_key=True)
    event_type: str
    event_id: UUID
    """The audit event that tells what came of it."""
    received_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )


class SignalStream(ObjectRow, table=True):
    """The stream of one provider, and how it fares.

    ``revision`` moves with what somebody sets; what is noted as events come leaves it as it is.
    """

    __tablename__ = "signal_streams"
    __table_args__ = (
        Index("uq_signal_streams_provider_id", "provider_id", unique=True),
        Index("ix_signal_streams_poll_at", "poll_at", postgresql_where=text("poll_at IS NOT NULL")),
    )

    provider_id: UUID = Field(foreign_key=_IDENTITY_PROVIDERS)
    issuer: str
    """The transmitter that it is of: at another one, nothing of this is true."""
    stream_id: str | None = None
    """What the transmitter calls it, once it was made there."""
    delivery: str | None = None
    """How the transmitter was told to deliver when it was."""
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
    failing_since: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    error: str | None = None
