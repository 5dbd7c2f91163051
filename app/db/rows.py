"""Lock one row to change it, or to keep it from changing."""

from enum import Enum
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel

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
    table are locked by id. Access versions come last: ``db.change`` moves them right before the commit.
    """
    how = True if mode is Lock.UPDATE else {mode.value: True}
    row: Row | None = await session.get(table, id, with_for_update=how, populate_existing=True)
    return row
