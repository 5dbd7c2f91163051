"""Rows: lock one to change it or to keep it from changing, flush them, and find them by a text that they contain."""

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    Uuid,
    any_,
    delete,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel

from app.domain.errors import Conflict, NotFound

Row = TypeVar("Row", bound=SQLModel)


class Lock(Enum):
    """How strongly a row is locked, weakest first."""

    SHARE = "read"
    """No transaction can change the row; several can hold this lock."""
    NO_KEY_UPDATE = "key_share"
    """This transaction can change the row but not its key: others can still insert rows that refer to it."""
    UPDATE = "exclusive"
    """This transaction can change or delete the row."""


async def lock(
    session: AsyncSession, table: type[Row], id: UUID, mode: Lock = Lock.NO_KEY_UPDATE
) -> Row | None:
    """Read a row under a lock that is held until the transaction ends; ``None`` where there is no such row.

    To prevent deadlocks, every transaction locks in this order: servers, groups, identities,
    administrators and service accounts, grants, tokens, pickup links, approvals, memberships, policies. Rows of one
    table are locked by id. Lock identities with ``identities.queries.lock_identity``, which queues for them. Access
    versions come last: ``db.change`` moves them right before the commit.
    """
    how = True if mode is Lock.UPDATE else {mode.value: True}
    row: Row | None = await session.get(table, id, with_for_update=how, populate_existing=True)
    return row


def existing(row: Row | None, what: str) -> Row:
    """The row. Raises ``NotFound`` when there is none, or it has ended."""
    if row is None or getattr(row, "ended_at", None) is not None:
        raise NotFound(f"There is no such {what}.")
    return row


async def flush_unique(session: AsyncSession, conflicts: Mapping[str, Conflict]) -> None:
    """Flush. Raises the conflict of the unique constraint that the rows violate, by a part of the constraint's name."""
    try:
        await session.flush()
    except IntegrityError as error:
        for constraint, conflict in conflicts.items():
            if constraint in str(error.orig):
                raise conflict from None
        raise


async def forget_expired(
    session: AsyncSession, key: Any, expires_at: Any, *conditions: ColumnElement[bool]
) -> None:
    """Delete the rows of a table that have expired, except those that another transaction has locked."""
    expired = select(key).where(expires_at < func.clock_timestamp(), *conditions)
    await session.execute(delete(key.class_).where(key.in_(expired.with_for_update(skip_locked=True))))


def is_one_of(column: Any, ids: Select[UUID] | Collection[UUID]) -> ColumnElement[bool]:
    """Whether a column is one of these ids, as one array parameter: a bulk may need more than the 32,767 parameters of
    a statement."""
    # A query is read once, as an array: with arrays, each alternative of an OR uses its index.
    array: Any = (
        func.array(ids.scalar_subquery()) if isinstance(ids, Select) else literal(list(ids), ARRAY(Uuid))
    )
    is_any: ColumnElement[bool] = column == any_(array)
    return is_any


_SHORTEST = 3


def has_text(q: str, *columns: Any, indexed: str) -> ColumnElement[bool]:
    """Whether one of these columns contains a text, ignoring case.

    PostgreSQL's own trigram index needs an extension that not every server offers. So a function of the schema computes
    the lower-case trigrams of a text, and an index on it finds candidates, which are then compared with the text
    itself. ``indexed`` is the SQL expression of the table's index, which concatenates the columns. A text shorter than
    three characters scans the table, since it matches many rows anyway.
    """
    contains = or_(*(column.icontains(q, autoescape=True) for column in columns))
    if len(q) < _SHORTEST:
        return contains
    letters = func.scopegate_trigrams(literal_column(indexed), type_=ARRAY(Text))
    return letters.contains(func.scopegate_trigrams(literal(q, Text), type_=ARRAY(Text))) & contains


def touch(row: Any) -> None:
    """Move the revision of another feature's row, whose view shows what changed: a server's has its number of tools."""
    row.revision += 1
