"""Tables of OpenID providers and their Shared Signals: the processed events and their streams."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from app.models.base import ObjectRow, now_by_default


class IdentityProvider(ObjectRow, table=True):
    """An OIDC, SCIM and Shared Signals provider. ``source`` is ``environment`` for that of ``SCOPEGATE_OIDC_*``."""

    __tablename__ = "identity_providers"
    __table_args__ = (
        Index("ix_identity_providers_lower_name_id", text("lower(name)"), "id"),
        Index("uq_identity_providers_live_issuer", "issuer", unique=True, postgresql_where=text("ended_at IS NULL")),
    )  # fmt: skip

    name: str
    issuer: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict, sa_type=JSONB)
    status: str = Field(default="active", sa_column_kwargs={"server_default": "active"})
    source: str = Field(default="api", sa_column_kwargs={"server_default": "api"})
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


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
    received_at: datetime = now_by_default()


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
