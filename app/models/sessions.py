"""Tables of sessions on the aggregate endpoint, and of the oldest code that the database supports."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel


class EndedSession(SQLModel, table=True):
    """A session on the aggregate endpoint that its client ended. It returns 404 until its token is long expired."""

    __tablename__ = "ended_sessions"

    session_id: UUID = Field(primary_key=True)
    token_id: UUID = Field(index=True)
    ended_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )


class SessionNote(SQLModel, table=True):
    """The settings of a client session on the aggregate endpoint, kept until its token ends."""

    __tablename__ = "session_notes"

    session_id: UUID = Field(primary_key=True)
    token_id: UUID = Field(index=True)
    log_level: str | None = None
    subscriptions: list[str] = Field(default_factory=list, sa_type=JSONB)


class Compatibility(SQLModel, table=True):
    """A single row with the oldest generation of the code that this database supports."""

    __tablename__ = "compatibility"

    id: int = Field(default=1, primary_key=True)
    oldest_generation: int
