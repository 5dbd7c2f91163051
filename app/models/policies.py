"""Table of policies. Earlier published texts are in ``object_versions``."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Index
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from app.models.base import ObjectRow


class Policy(ObjectRow, table=True):
    """A Cedar policy: its draft text, and the published text, which decides.

    ``version`` counts the publications. It and the ``published_`` fields are null before the first one.
    """

    __tablename__ = "policies"
    __table_args__ = (
        Index("uq_policies_name", sql("lower(name)"), unique=True, postgresql_where=sql("ended_at IS NULL")),
        Index("ix_policies_published", "id", postgresql_where=sql("status = 'published'")),
    )

    name: str
    description: str | None = None
    text: str
    mode: str = Field(default="enforce", sa_column_kwargs={"server_default": "enforce"})
    tests: list[dict[str, Any]] = Field(
        default_factory=list, sa_type=JSONB, sa_column_kwargs={"server_default": sql("'[]'")}
    )
    status: str = Field(default="draft", sa_column_kwargs={"server_default": "draft"})
    version: int | None = None
    published_text: str | None = None
    published_mode: str | None = None
    published_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
