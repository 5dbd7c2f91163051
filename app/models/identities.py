"""Tables of people and agents, and of their accounts at providers."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from app.lib.ids import new_id
from app.models.base import ObjectRow
from app.models.identity_providers import IdentityProvider

_PROVIDERS = f"{IdentityProvider.__tablename__}.id"


NAMES = "identities.user_name || ' ' || coalesce(identities.display_name, '') || ' ' || coalesce(identities.email, '')"
"""The indexed expression for text search."""


class Identity(ObjectRow, table=True):
    """A person or agent that can hold tokens. ``provider_id`` is ``None`` for those created by hand."""

    __tablename__ = "identities"
    __table_args__ = (
        Index("ix_identities_lower_user_name_id", text("lower(user_name)"), "id"),
        Index("ix_identities_names", text(f"scopegate_trigrams({NAMES})"), postgresql_using="gin"),
        Index("ix_identities_lower_shown_name", text("lower(coalesce(display_name, user_name))")),
        # Shared Signals identify people by email.
        Index("ix_identities_lower_email", text("lower(email)"), postgresql_where=text("email IS NOT NULL")),
        # The few identities whose tokens are invalidated.
        Index("ix_identities_stopped", "id", postgresql_where=text("status <> 'active'")),
        # HR systems identify a leaver by it, at any provider.
        Index("ix_identities_external_id", "external_id", postgresql_where=text("external_id IS NOT NULL")),
        Index("uq_identities_user_name", text("coalesce(provider_id::text, '')"), text("lower(user_name)"),
              unique=True, postgresql_where=text("status <> 'offboarded'")),
        Index("uq_identities_external_id", text("coalesce(provider_id::text, '')"), "external_id",
              unique=True, postgresql_where=text("status <> 'offboarded' AND external_id IS NOT NULL")),
    )  # fmt: skip

    kind: str
    user_name: str
    display_name: str | None = None
    email: str | None = None
    owner_id: UUID | None = Field(default=None, foreign_key="identities.id", index=True)
    external_id: str | None = None
    provider_id: UUID | None = Field(default=None, foreign_key=_PROVIDERS)
    source: str = Field(default="manual", sa_column_kwargs={"server_default": "manual"})
    status: str = Field(default="active", sa_column_kwargs={"server_default": "active"})
    suspended_with_owner: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    offboarded_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    receipt_id: UUID | None = None
    erased_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    attributes: dict[str, str] = Field(
        default_factory=dict, sa_type=JSONB, sa_column_kwargs={"server_default": text("'{}'")}
    )
    """Attributes that policies can read."""
    sign_ins_after: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """The provider revoked its tokens for this identity that were issued up to this time."""


class IdentityLink(SQLModel, table=True):
    """A provider's stable name for an identity: (provider, kind, value), never an email."""

    __tablename__ = "identity_links"
    __table_args__ = (
        Index(
            "uq_identity_links_value", text("coalesce(provider_id::text, '')"), "kind", "value", unique=True
        ),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    identity_id: UUID = Field(foreign_key="identities.id", index=True)
    provider_id: UUID | None = Field(default=None, foreign_key=_PROVIDERS)
    kind: str
    value: str


class OffboardingReceipt(SQLModel, table=True):
    """The receipt of an offboarding: what it ended. Its id is that of the audit event."""

    __tablename__ = "offboarding_receipts"

    id: UUID = Field(primary_key=True)
    identity_id: UUID = Field(foreign_key="identities.id", index=True)
    created_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )
    body: dict[str, Any] = Field(sa_type=JSONB)
    signed: str | None = None
    """The receipt for auditors, as a JWS (RFC 7515) without personal data."""
    key_id: str | None = None


class ScimUser(SQLModel, table=True):
    """The SCIM resource of an identity that a provider provisions."""

    __tablename__ = "scim_users"
    __table_args__ = (
        Index("uq_scim_users_user_name", "provider_id", text("lower(user_name)"),
              unique=True, postgresql_where=text("deleted_at IS NULL")),
        Index("uq_scim_users_external_id", "provider_id", "external_id",
              unique=True, postgresql_where=text("deleted_at IS NULL AND external_id IS NOT NULL")),
        Index("ix_scim_users_provider_id_identity_id", "provider_id", "identity_id"),
        # Directories also filter by these attributes.
        Index("ix_scim_users_display_name", "provider_id", text("lower(profile ->> 'displayName')"),
              postgresql_where=text("deleted_at IS NULL")),
        Index("ix_scim_users_emails",
              text("(lower(jsonb_path_query_array(profile, '$.emails[*].value')::text)::jsonb) jsonb_path_ops"),
              postgresql_using="gin"),
    )  # fmt: skip

    identity_id: UUID = Field(primary_key=True, foreign_key="identities.id")
    provider_id: UUID = Field(foreign_key=_PROVIDERS)
    user_name: str
    external_id: str | None = None
    profile: dict[str, Any] = Field(
        default_factory=dict, sa_type=JSONB, sa_column_kwargs={"server_default": text("'{}'")}
    )
    """The SCIM attributes that an identity does not have."""
    deleted_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """When SCIM deleted the user. The identity stays, offboarded."""
