"""Tables of servers and their tools."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TEXT
from sqlmodel import Field, SQLModel

from app.lib.ids import new_id
from app.models.base import ObjectRow, empty_by_default, now_by_default

SERVER_TEXTS = "servers.slug || ' ' || servers.name || ' ' || coalesce(servers.description, '')"
"""The indexed expression for text search."""


class Server(ObjectRow, table=True):
    """A registered MCP server. The slug of an ended server stays reserved for 90 days."""

    __tablename__ = "servers"
    __table_args__ = (
        Index("ix_servers_slug_id", "slug", "id"),
        Index("ix_servers_lower_name_id", text("lower(name)"), "id"),
        Index("ix_servers_texts", text(f"scopegate_trigrams({SERVER_TEXTS})"), postgresql_using="gin"),
        Index(
            "ix_servers_owner_group_id", "owner_group_id", postgresql_where=text("owner_group_id IS NOT NULL")
        ),
        Index("uq_servers_slug", "slug", unique=True, postgresql_where=text("ended_at IS NULL")),
    )

    slug: str
    name: str
    description: str | None = None
    labels: dict[str, str] = empty_by_default(dict, JSONB)
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
    """Whether people can see the server and request access to it."""
    sync_state: str = Field(default="never", sa_column_kwargs={"server_default": "never"})
    sync_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    sync_error: str | None = None
    sync_started_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """When the requested, unfinished sync began; null if there is none."""
    sync_due_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """When the next periodic sync is due; the worker that claims it sets a new time. Null: derived from ``sync_at``."""
    sync_failures: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    """The number of failed syncs since the last successful one."""
    first_synced_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    """When tools were first listed. Tools found later count as new."""
    instructions: str | None = None
    """The server's instructions, as read last."""
    approved_instructions: str | None = None
    """The approved instructions. A live text that differs is left out."""
    protocol_versions: list[str] = empty_by_default(list, ARRAY(TEXT))
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class ServerCredential(SQLModel, table=True):
    """An encrypted upstream credential, bound by associated data to its row, server and origin."""

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
    updated_at: datetime = now_by_default()


TOOL_TEXTS = "tools.name || ' ' || coalesce(tools.title, '') || ' ' || coalesce(tools.description, '')"


class Tool(ObjectRow, table=True):
    """A tool with its latest definition and the approved digest. Its history is in ``object_versions``."""

    __tablename__ = "tools"
    __table_args__ = (
        Index("uq_tools_server_name", "server_id", "name", unique=True),
        Index("ix_tools_name_id", "name", "id"),
        Index("ix_tools_texts", text(f"scopegate_trigrams({TOOL_TEXTS})"), postgresql_using="gin"),
    )

    server_id: UUID = Field(foreign_key="servers.id")
    name: str
    title: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] = Field(sa_type=JSONB)
    output_schema: dict[str, Any] | None = Field(default=None, sa_type=JSONB(none_as_null=True))
    annotations: dict[str, Any] | None = Field(default=None, sa_type=JSONB(none_as_null=True))
    risk: str
    assessed_risk: str
    """The risk by the approved definition. ``risk`` is the same unless an administrator overrode it."""
    risk_overridden: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    state: str
    held: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    """Quarantined by hand: a sync that finds the approved definition does not reactivate the tool."""
    definition_digest: bytes = Field(sa_type=LargeBinary)
    approved_digest: bytes | None = Field(default=None, sa_type=LargeBinary)
    removed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
