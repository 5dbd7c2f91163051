"""The table of invitations."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, Index, LargeBinary, text
from sqlmodel import Field

from app.models.base import ObjectRow

_OPEN = "status IN ('pending', 'claimed')"


class Invitation(ObjectRow, table=True):
    """An invitation for a person who cannot sign in yet: HMAC of the link's secret, and the expected account.

    ``claimed_link`` is the provider's link claim of the account that signed in with it.
    """

    __tablename__ = "invitations"
    __table_args__ = (
        Index("ix_invitations_identity_id", "identity_id"),
        Index("uq_invitations_open", "identity_id", "provider_id", unique=True, postgresql_where=text(_OPEN)),
        Index("ix_invitations_subject", "provider_id", "subject", postgresql_where=text("status = 'pending'")),
        Index("ix_invitations_email", "provider_id", text("lower(email)"), postgresql_where=text("status = 'pending'")),
        Index("ix_invitations_claimed", "provider_id", "claimed_link", postgresql_where=text("status = 'claimed'")),
    )  # fmt: skip

    identity_id: UUID = Field(foreign_key="identities.id")
    provider_id: UUID = Field(foreign_key="identity_providers.id")
    email: str | None = None
    subject: str | None = None
    digest: bytes = Field(sa_type=LargeBinary)
    pepper_key_id: str
    status: str = Field(default="pending", sa_column_kwargs={"server_default": "pending"})
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))
    claimed_link: str | None = None
    claimed_email: str | None = None
    claimed_email_verified: bool | None = None
    claimed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    confirmed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
