"""Encrypt stored secrets again with the newest key, while the service runs."""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import inspect, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import SQLModel

from app.crypto.keys import Sealed, Sealer, UnsealingFault

Row = TypeVar("Row", bound=SQLModel)
_PAGE = 200


async def reseal(
    sessions: async_sessionmaker[AsyncSession],
    sealer: Sealer,
    table: type[Row],
    place: Callable[[Row], bytes],
    *,
    together: bool = False,
) -> tuple[int, int]:
    """Reencrypt every ``sealed`` value of a table; return how many, and how many no configured key decrypts.

    ``place`` is the associated data that binds the value of a row. The job can be interrupted and repeated at any time.
    A value is replaced only if it is unchanged since it was read, so that a concurrent change stays. Each row has its
    own transaction, so that no deadlock with a change is possible; with ``together``, for rows that never change, a
    page has one.
    """
    columns: Any = table
    key = [getattr(columns, column.key) for column in inspect(table).primary_key]
    # Rewriting a secret is no change of its object.
    kept = {"updated_at": columns.updated_at} if hasattr(table, "updated_at") else {}
    resealed, unopened, after = 0, 0, UUID(int=0)
    while True:
        older = select(table).where(columns.key_id != sealer.current_id, key[0] > after).order_by(key[0])
        async with sessions() as session:
            page = list(await session.scalars(older.limit(_PAGE)))
            if not page:
                return resealed, unopened
            for row in page:
                values: Any = row
                after = getattr(values, key[0].key)
                try:
                    contents = sealer.unseal(Sealed(values.key_id, values.sealed), place(row))
                except UnsealingFault:
                    unopened += 1
                    continue
                sealed = sealer.seal(contents, place(row))
                unchanged = (
                    *(one == getattr(values, one.key) for one in key),
                    columns.sealed == values.sealed,
                )
                statement = update(table).where(*unchanged).returning(key[0])
                result = await session.execute(
                    statement.values(key_id=sealed.key_id, sealed=sealed.data, **kept),
                    execution_options={"synchronize_session": False},
                )
                resealed += len(result.all())
                if not together:
                    await session.commit()
            await session.commit()
