"""Tables of scoped tokens, whose secrets are HMACs in separate rows, and of their sessions."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TEXT
from sqlmodel import Field, SQLModel

from app.lib.ids import new_id
from app.models.base import ObjectRow, empty_by_default, now_by_default


class Token(ObjectRow, table=True):
    """A scoped token. Its id is safe to log. The history of its scope is in ``object_versions``."""

    __tablename__ = "tokens"
    __table_args__ = (
        Index("ix_tokens_lower_name_id", text("lower(name)"), "id"),
        Index("ix_tokens_expires_at_id", "expires_at", "id"),
        Index("ix_tokens_revoked", "id", postgresql_where=text("revoked_at IS NOT NULL")),
        Index("ix_tokens_names", text("scopegate_trigrams(name)"), postgresql_using="gin"),
    )

    identity_id: UUID = Field(foreign_key="identities.id", index=True)
    parent_id: UUID | None = Field(default=None, foreign_key="tokens.id", index=True)
    depth: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    name: str
    scope: dict[str, Any] = Field(sa_type=JSONB)
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))
    ip_allow: list[str] = empty_by_default(list, ARRAY(TEXT))
    revoked_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    revoke_reason: str | None = None


class TokenSecret(SQLModel, table=True):
    """HMAC-SHA256(pepper, id‖secret) of one secret. A rotation adds a row and ends the older one by ``expires_at``."""

    __tablename__ = "token_secrets"

    id: UUID = Field(default_factory=new_id, primary_key=True)
    token_id: UUID = Field(foreign_key="tokens.id", index=True)
    digest: bytes = Field(sa_type=LargeBinary)
    pepper_key_id: str
    created_at: datetime = now_by_default()
    expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class TokenPickup(ObjectRow, table=True):
    """A pickup link, with which one person gets a new secret of a token, once. The secret is generated at pickup.

    Whether the link is still pending depends on the state here, the time, the token and its holder; see the queries of
    tokens.
    """

    __tablename__ = "token_pickups"
    __table_args__ = (
        Index("ix_token_pickups_token_id", "token_id", "id"),
        Index(
            "uq_token_pickups_pending", "token_id", unique=True, postgresql_where=text("state = 'pending'")
        ),
        Index("ix_token_pickups_recipient_id", "recipient_id", postgresql_where=text("state = 'pending'")),
    )

    token_id: UUID = Field(foreign_key="tokens.id")
    recipient_id: UUID = Field(foreign_key="identities.id")
    overlap_s: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    state: str = Field(default="pending", sa_column_kwargs={"server_default": "pending"})
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))
    picked_up_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    reopened_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """When it was last reported that the recipient opened the link again after its use."""


class TokenDraft(ObjectRow, table=True):
    """The form state of a token that a person is about to issue, and the token once issued. It grants no access."""

    __tablename__ = "token_drafts"
    __table_args__ = (
        Index("ix_token_drafts_person_id", "person_id", "id"),
        Index("ix_token_drafts_created_at", "created_at"),
    )

    person_id: UUID = Field(foreign_key="identities.id")
    content: dict[str, Any] = Field(sa_type=JSONB)
    token_id: UUID | None = Field(default=None, foreign_key="tokens.id")


class TokenUse(SQLModel, table=True):
    """When a token was last used, written at most once a minute, in a separate table so that tokens rarely change."""

    __tablename__ = "token_uses"

    token_id: UUID = Field(primary_key=True)
    last_used_at: datetime = Field(sa_type=DateTime(timezone=True))


class ScheduledOffboarding(ObjectRow, table=True):
    """A scheduled offboarding, by its last requester. An erasure removes the reason."""

    __tablename__ = "scheduled_offboardings"
    __table_args__ = (
        Index("uq_scheduled_offboardings_pending", "identity_id",
              unique=True, postgresql_where=text("status = 'pending'")),
        Index("ix_scheduled_offboardings_due", "effective_at", postgresql_where=text("status = 'pending'")),
    )  # fmt: skip

    identity_id: UUID = Field(foreign_key="identities.id", index=True)
    effective_at: datetime = Field(sa_type=DateTime(timezone=True))
    reason: str | None = None
    transfer_agents_to: UUID | None = None
    status: str = Field(default="pending", sa_column_kwargs={"server_default": "pending"})
    requested_by_kind: str
    requested_by_id: UUID
    on_behalf_of: UUID | None = None
    finished_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    receipt_id: UUID | None = None


class ExpiryNotice(SQLModel, table=True):
    """A record that the coming expiry of a token or grant was announced: once for each expiry that it was given."""

    __tablename__ = "expiry_notices"

    # In the column order of the index for look-ups.
    expires_at: datetime = Field(primary_key=True, sa_type=DateTime(timezone=True))
    object_id: UUID = Field(primary_key=True)
    told_at: datetime = now_by_default()


class EndedSession(SQLModel, table=True):
    """A session on the aggregate endpoint that its client ended. It returns 404 until its token is long expired."""

    __tablename__ = "ended_sessions"

    session_id: UUID = Field(primary_key=True)
    token_id: UUID = Field(index=True)
    ended_at: datetime = now_by_default()


class SessionNote(SQLModel, table=True):
    """The settings of a client session on the aggregate endpoint, kept until its token ends."""

    __tablename__ = "session_notes"

    session_id: UUID = Field(primary_key=True)
    token_id: UUID = Field(index=True)
    log_level: str | None = None
    subscriptions: list[str] = Field(default_factory=list, sa_type=JSONB)
