"""The table of identity providers."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from app.models.base import ObjectRow


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
