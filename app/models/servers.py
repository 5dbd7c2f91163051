"""Tables of MCP servers and of our own credentials for them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TEXT
from sqlmodel import Field, SQLModel

from app.lib.ids import new_id
from app.models.base import ObjectRow

TEXTS = "servers.slug || ' ' || servers.name || ' ' || coalesce(servers.description, '')"
"""What is searched for text, as it is indexed."""


class Server(ObjectRow, table=True):
    """An MCP server as registered. Slugs of ended servers stay taken for 90 days."""

    __tablename__ = "servers"
    __table_args__ = (
        Index("ix_servers_slug_id", "slug", "id"),
        Index("ix_servers_lower_name_id", text("lower(name)"), "id"),
        Index("ix_servers_texts", text(f"scopegate_trigrams({TEXTS})"), postgresql_using="gin"),
        Index(
            "ix_servers_owner_group_id", "owner_group_id", postgresql_where=text("owner_group_id IS NOT NULL")
        ),
        Index("uq_servers_slug", "slug", unique=True, postgresql_where=text("ended_at IS NULL")),
    )

    slug: str
    name: str
    description: str | None = None
    labels: dict[str, str] = Field(
        default_factory=dict, sa_type=JSONB, sa_column_kwargs={"server_default": text("'{}'")}
    )
    owner_group_id: UUID | None = Field(default=None, foreign_key="groups.id")
    transport: str = Field(default="streamable_http", sa_column_kwargs={"server_default": "streamable_http"})
    url: str | None = None
    command: str | None = None
    args: list[str] | None = Field(default=None, sa_type=ARRAY(TEXT))
    env_names: list[str] | None = Field(default=None, sa_type=ARRAY(TEXT))
    status: str = Field(default="active", sa_column_kwargs={"server_default": "active"})
    new_tools: str = Field(default="quarantine", sa_column_kwargs={"server_default": "quarantine"})
    keep_arguments: str = Field(default="approvals", sa_column_kwargs={"server_default": "approvals"})
    requestable: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    """Whether people see that it is there and can ask for access to it."""
    sync_state: str = Field(default="never", sa_column_kwargs={"server_default": "never"})
    sync_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    sync_error: str | None = None
    sync_started_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """When the sync began that was asked for and has not ended; null: there is none."""
    sync_due_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """When it is read again without being asked to; whoever claims that moves it. Null: some time after ``sync_at``."""
    sync_failures: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    """How many syncs failed since the last that went well."""
    first_synced_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """When tools were first listed; what is found later counts as new."""
    instructions: str | None = None
    """What it says of its use, as it was read last."""
    approved_instructions: str | None = None
    """What it may say: a live text that is another is left out."""
    protocol_versions: list[str] = Field(
        default_factory=list, sa_type=ARRAY(TEXT), sa_column_kwargs={"server_default": text("'{}'")}
    )
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class ServerCredential(SQLModel, table=True):
    """An upstream credential, sealed; bound by associated data to its row, server and origin."""

    __tablename__ = "server_credentials"
    __table_args__ = (
        Index(
            "uq_server_credentials_holder", "server_id", text("coalesce(identity_id::text, '')"), unique=True
        ),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    server_id: UUID = Field(foreign_key="servers.id")
    identity_id: UUID | None = Field(default=None, foreign_key="identities.id")
    kind: str
    origin: str
    key_id: str
    sealed: bytes = Field(sa_type=LargeBinary)
    updated_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )
