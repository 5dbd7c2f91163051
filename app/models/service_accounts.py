"""Tables of service accounts, their client secrets and their short-lived API bearers."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, Index, LargeBinary, text
from sqlmodel import Field, SQLModel

from app.lib.ids import new_id
from app.models.base import ObjectRow

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
    created_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )
    revoked_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class ApiBearer(SQLModel, table=True):
    """HMAC of a short-lived API bearer (``sgb_``), which ends with its credential."""

    __tablename__ = "api_bearers"

    id: UUID = Field(default_factory=new_id, primary_key=True)
    credential_id: UUID = Field(foreign_key="service_account_credentials.id", index=True)
    digest: bytes = Field(sa_type=LargeBinary)
    pepper_key_id: str
    expires_at: datetime = Field(sa_type=DateTime(timezone=True), index=True)
