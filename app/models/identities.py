"""Tables of identities, groups, invitations, service accounts and administrators, with their sessions."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Index, LargeBinary, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from app.lib.ids import new_id
from app.models.base import ObjectRow, empty_by_default, now_by_default
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
    attributes: dict[str, str] = empty_by_default(dict, JSONB)
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
    created_at: datetime = now_by_default()
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
    profile: dict[str, Any] = empty_by_default(dict, JSONB)
    """The SCIM attributes that an identity does not have."""
    deleted_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """When SCIM deleted the user. The identity stays, offboarded."""


class Group(ObjectRow, table=True):
    """A set of identities that can receive grants."""

    __tablename__ = "groups"
    __table_args__ = (
        Index("ix_groups_lower_name_id", text("lower(name)"), "id"),
        Index("uq_groups_name", text("coalesce(provider_id::text, '')"), text("lower(name)"),
              unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("ix_groups_provider_id_external_id", "provider_id", "external_id",
              postgresql_where=text("ended_at IS NULL AND provider_id IS NOT NULL")),
    )  # fmt: skip

    name: str
    description: str | None = None
    external_id: str | None = None
    source: str = Field(default="manual", sa_column_kwargs={"server_default": "manual"})
    provider_id: UUID | None = Field(default=None, foreign_key="identity_providers.id")
    owner_group_id: UUID | None = Field(default=None, foreign_key="groups.id")
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class GroupMember(SQLModel, table=True):
    """A current membership. Past ones are in ``object_versions`` under the same id."""

    __tablename__ = "group_members"
    __table_args__ = (Index("uq_group_members_pair", "group_id", "identity_id", unique=True),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    group_id: UUID = Field(foreign_key="groups.id")
    identity_id: UUID = Field(foreign_key="identities.id", index=True)
    created_at: datetime = now_by_default()


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


SERVICE_ACCOUNT_KIND = "service_account"


class ServiceAccount(ObjectRow, table=True):
    """A program that manages the control plane. ``owner_id`` is the responsible person."""

    __tablename__ = "service_accounts"
    __table_args__ = (Index("ix_service_accounts_lower_name_id", text("lower(name)"), "id"),)

    name: str
    owner_id: UUID = Field(foreign_key="identities.id", index=True)
    role: str
    status: str = Field(default="active", sa_column_kwargs={"server_default": "active"})
    owner_offboarded: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class ServiceAccountCredential(SQLModel, table=True):
    """HMAC of one client secret (``sgc_``). Its id is the credential's ``key_`` id and the secret's public id."""

    __tablename__ = "service_account_credentials"

    id: UUID = Field(default_factory=new_id, primary_key=True)
    service_account_id: UUID = Field(foreign_key="service_accounts.id", index=True)
    digest: bytes = Field(sa_type=LargeBinary)
    pepper_key_id: str
    created_at: datetime = now_by_default()
    revoked_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class ApiBearer(SQLModel, table=True):
    """HMAC of a short-lived API bearer (``sgb_``), which ends with its credential."""

    __tablename__ = "api_bearers"

    id: UUID = Field(default_factory=new_id, primary_key=True)
    credential_id: UUID = Field(foreign_key="service_account_credentials.id", index=True)
    digest: bytes = Field(sa_type=LargeBinary)
    pepper_key_id: str
    expires_at: datetime = Field(sa_type=DateTime(timezone=True), index=True)


class Administrator(ObjectRow, table=True):
    """A person who manages the control plane."""

    __tablename__ = "administrators"
    __table_args__ = (
        Index(
            "ix_administrators_sign_in_id", text("coalesce(last_sign_in_at, '-infinity'::timestamptz)"), "id"
        ),
    )

    identity_id: UUID = Field(foreign_key="identities.id", unique=True)
    status: str = Field(default="active", sa_column_kwargs={"server_default": "active"})
    last_sign_in_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class RoleAssignment(ObjectRow, table=True):
    """A role of an administrator, and its scope (``all`` for now)."""

    __tablename__ = "role_assignments"
    __table_args__ = (Index("uq_role_assignments", "administrator_id", "role", "within", unique=True),)

    administrator_id: UUID = Field(foreign_key="administrators.id")
    role: str
    within: str = Field(default="all", sa_column_kwargs={"server_default": "all"})


class BreakGlassSession(SQLModel, table=True):
    """HMAC of a bearer token of the break-glass administrator. ``password_key`` names the password that was used."""

    __tablename__ = "break_glass_sessions"

    id: UUID = Field(default_factory=new_id, primary_key=True)
    digest: bytes = Field(sa_type=LargeBinary)
    pepper_key_id: str
    password_key: str
    reason: str
    created_at: datetime = now_by_default()
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))


class BrowserSession(SQLModel, table=True):
    """A browser session: HMAC of the cookie, and the claims of the sign-in.

    ``role_values`` are the values of the provider's role claim that gave roles. ``id_token`` is encrypted with the
    cookie's secret, which is not stored.
    """

    __tablename__ = "browser_sessions"
    __table_args__ = (
        Index("ix_browser_sessions_subject", "provider_id", "subject"),
        Index("ix_browser_sessions_provider_session", "provider_id", "provider_session"),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    digest: bytes = Field(sa_type=LargeBinary)
    pepper_key_id: str
    identity_id: UUID = Field(foreign_key="identities.id", index=True)
    provider_id: UUID = Field(foreign_key="identity_providers.id")
    link: str
    subject: str
    provider_session: str | None = None
    role_values: list[str] = Field(default_factory=list, sa_type=ARRAY(String))
    id_token: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = now_by_default()
    seen_at: datetime = Field(sa_type=DateTime(timezone=True))
    expires_at: datetime = Field(sa_type=DateTime(timezone=True), index=True)


class WorkloadSignIn(SQLModel, table=True):
    """The sign-in of a program by an access token, identified by the digest of its claims. Kept for a day."""

    __tablename__ = "workload_sign_ins"

    digest: bytes = Field(sa_type=LargeBinary, primary_key=True)
    service_account_id: UUID
    expires_at: datetime = Field(sa_type=DateTime(timezone=True), index=True)
