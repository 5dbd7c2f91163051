"""The base of all tables (named constraints, id, times, revision), and the code that the database supports."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, MetaData, func, text
from sqlmodel import Field, SQLModel

from app.lib.ids import new_id

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata: MetaData = SQLModel.metadata
metadata.naming_convention = NAMING


def sql_default(default: str, type: Any, **options: Any) -> Any:
    """A column that the database fills with an SQL expression."""
    return Field(default=None, sa_type=type, sa_column_kwargs={"server_default": text(default)}, **options)


def now_by_default() -> Any:
    """A column with the time at which the transaction that inserts its row began."""
    return sql_default("now()", DateTime(timezone=True))


def empty_by_default(kind: type[Any], type: Any, default: str = "'{}'") -> Any:
    """A column of lists or objects that is empty by default."""
    return Field(default_factory=kind, sa_type=type, sa_column_kwargs={"server_default": text(default)})


class ObjectRow(SQLModel):
    """An object of the API. ``revision`` is its ETag and increments with every change."""

    id: UUID = Field(default_factory=new_id, primary_key=True)
    created_at: datetime = now_by_default()
    updated_at: datetime = Field(
        default=None,
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": func.now(), "onupdate": func.now()},
    )
    revision: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})


class Compatibility(SQLModel, table=True):
    """A single row with the oldest generation of the code that this database supports."""

    __tablename__ = "compatibility"

    id: int = Field(default=1, primary_key=True)
    oldest_generation: int
