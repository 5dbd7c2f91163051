"""Tables of webhooks, their signing secrets and their deliveries."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TEXT
from sqlmodel import Field, SQLModel

from app.lib.ids import new_id
from app.models.base import ObjectRow, now_by_default, sql_default


class Webhook(ObjectRow, table=True):
    """An endpoint for messages of chosen types.

    Delivery updates the last four fields, the state of the endpoint, without a new revision.
    """

    __tablename__ = "webhooks"
    __table_args__ = (Index("ix_webhooks_lower_name_id", text("lower(name)"), "id"),)

    name: str
    description: str | None = None
    url: str
    events: list[str] = Field(sa_type=ARRAY(TEXT))
    status: str = Field(default="active", sa_column_kwargs={"server_default": "active"})
    disabled_reason: str | None = None
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    failures: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    """The number of failed attempts since the last successful one."""
    failing_since: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    held_until: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """Nothing is sent before this time, because the endpoint keeps failing."""
    delivered_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class WebhookSecret(SQLModel, table=True):
    """An encrypted signing secret, bound by associated data to its row and webhook."""

    __tablename__ = "webhook_secrets"

    id: UUID = Field(default_factory=new_id, primary_key=True)
    webhook_id: UUID = Field(index=True)
    key_id: str
    sealed: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = now_by_default()
    expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """When its overlap with a newer secret ends; ``None`` for the newest secret."""


class WebhookDelivery(ObjectRow, table=True):
    """One message to one webhook. ``due_at`` is the next attempt; under ``lease``, when another worker may try."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_webhook_id_id", "webhook_id", "id"),
        Index("ix_webhook_deliveries_type", "webhook_id", "type", "id"),
        Index(
            "ix_webhook_deliveries_due", "webhook_id", "due_at", postgresql_where=text("state = 'pending'")
        ),
        Index("ix_webhook_deliveries_failed", "webhook_id", "id", postgresql_where=text("state = 'failed'")),
    )

    webhook_id: UUID
    type: str
    data: dict[str, Any] = Field(sa_type=JSONB)
    state: str = Field(default="pending", sa_column_kwargs={"server_default": "pending"})
    due_at: datetime = now_by_default()
    give_up_at: datetime = sql_default("now() + interval '3 days'", DateTime(timezone=True))
    """No attempts are made after this time."""
    lease: UUID | None = None
    attempts: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    attempted_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    delivered_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    status_code: int | None = None
    error: str | None = None
