"""Tables of administrators, their role assignments, and sessions and sign-ins."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Index, LargeBinary, String, text
from sqlmodel import Field, SQLModel

from app.lib.ids import new_id
from app.models.base import ObjectRow


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
    created_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )
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
    created_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )
    seen_at: datetime = Field(sa_type=DateTime(timezone=True))
    expires_at: datetime = Field(sa_type=DateTime(timezone=True), index=True)


class WorkloadSignIn(SQLModel, table=True):
    """The sign-in of a program by an access token, identified by the digest of its claims. Kept for a day."""

    __tablename__ = "workload_sign_ins"

    digest: bytes = Field(sa_type=LargeBinary, primary_key=True)
    service_account_id: UUID
    expires_at: datetime = Field(sa_type=DateTime(timezone=True), index=True)
