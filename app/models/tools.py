"""Table of the tools of servers."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from app.models.base import ObjectRow

TEXTS = "tools.name || ' ' || coalesce(tools.title, '') || ' ' || coalesce(tools.description, '')"
"""The indexed expression for text search."""


class Tool(ObjectRow, table=True):
    """A tool with its latest definition and the approved digest. Its history is in ``object_versions``."""

    __tablename__ = "tools"
    __table_args__ = (
        Index("uq_tools_server_name", "server_id", "name", unique=True),
        Index("ix_tools_name_id", "name", "id"),
        Index("ix_tools_texts", text(f"scopegate_trigrams({TEXTS})"), postgresql_using="gin"),
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
