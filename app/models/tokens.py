"""Tables of scoped tokens. A token holds no secret; its secrets are HMACs in rows of their own."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TEXT
from sqlmodel import Field, SQLModel

from app.lib.ids import new_id
from app.models.base import ObjectRow


class Token(ObjectRow, table=True):
    """A scoped token by its loggable id. The scope's past is in ``object_versions``."""

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
    ip_allow: list[str] = Field(
        default_factory=list, sa_type=ARRAY(TEXT), sa_column_kwargs={"server_default": text("'{}'")}
    )
    revoked_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    revoke_reason: str | None = None


class TokenSecret(SQLModel, table=True):
    """HMAC-SHA256(pepper, id‖secret) of one secret; rotation adds a row and ends the older by ``expires_at``."""

    __tablename__ = "token_secrets"

    id: UUID = Field(default_factory=new_id, primary_key=True)
    token_id: UUID = Field(foreign_key="tokens.id", index=True)
    digest: bytes = Field(sa_type=LargeBinary)
    pepper_key_id: str
    created_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )
    expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class TokenPickup(ObjectRow, table=True):
    """A link by which one person takes a new secret of a token, once. It holds no secret: that is made when they do.

    A row says what was done to it. Whether it still waits follows from time, the token and whose it is, too; see
    ``pickup_queries``.
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
    """When somebody was last told that its recipient opened it again after it was used."""


class TokenDraft(ObjectRow, table=True):
    """What somebody has chosen so far of a token that they are about to issue, and the token once it is. It holds no
    secret, and gives no right."""

    __tablename__ = "token_drafts"
    __table_args__ = (
        Index("ix_token_drafts_person_id", "person_id", "id"),
        Index("ix_token_drafts_created_at", "created_at"),
    )

    person_id: UUID = Field(foreign_key="identities.id")
    content: dict[str, Any] = Field(sa_type=JSONB)
    token_id: UUID | None = Field(default=None, foreign_key="tokens.id")


class TokenUse(SQLModel, table=True):
    """When a token was last used, written at most once a minute, apart so that tokens stay cold."""

    __tablename__ = "token_uses"

    token_id: UUID = Field(primary_key=True)
    last_used_at: datetime = Field(sa_type=DateTime(timezone=True))


class ScheduledOffboarding(ObjectRow, table=True):
    """An offboarding that takes effect later, by whoever asked for it last. An erasure takes the reason."""

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
    """That somebody was told of the end of a token or grant: once for each end that it was given."""

    __tablename__ = "expiry_notices"

    # In the order of the index that they are looked for by.
    expires_at: datetime = Field(primary_key=True, sa_type=DateTime(timezone=True))
    object_id: UUID = Field(primary_key=True)
    told_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )
