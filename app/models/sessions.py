"""Tables beside admission: sessions on the aggregate endpoint, and the oldest code that the database serves."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel


class EndedSession(SQLModel, table=True):
    """A session on the aggregate endpoint that its client ended; 404 everywhere until its token is long over."""

    __tablename__ = "ended_sessions"

    session_id: UUID = Field(primary_key=True)
    token_id: UUID = Field(index=True)
    ended_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")}
    )


class SessionNote(SQLModel, table=True):
    """What the client of a session on the aggregate endpoint asked for; kept until its token ends."""

    __tablename__ = "session_notes"

    session_id: UUID = Field(primary_key=True)
    token_id: UUID = Field(index=True)
    log_level: str | None = None
    subscriptions: list[str] = Field(default_factory=list, sa_type=JSONB)


class Compatibility(SQLModel, table=True):
    """The oldest generation of the code that this database still serves; one row."""

    __tablename__ = "compatibility"

    id: int = Field(default=1, primary_key=True)
    oldest_generation: int
