"""Reencrypt kept arguments with the newest key. The service can only add arguments, not change them."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.crypto.keys import Sealed, Sealer, UnsealingFault
from app.db.call_arguments import arguments_place
from app.models.audit import AuditArguments

_PAGE = 200
_MAY = text("SELECT has_table_privilege('audit_arguments', 'UPDATE')")


async def reseal_arguments(sessions: async_sessionmaker[AsyncSession], sealer: Sealer) -> tuple[int, int]:
    """Reencrypt all arguments with the newest key; return how many, and how many no key can decrypt.

    It can be interrupted and repeated. Nothing is done unless the sessions are those of the tables' owner.
    """
    async with sessions() as session:
        if not await session.scalar(_MAY):
            return 0, 0
    resealed, unopened, after = 0, 0, UUID(int=0)
    while page := await _older(sessions, sealer.current_id, after):
        async with sessions() as session:
            for row in page:
                after, place = row.call_id, arguments_place(row.call_id)
                try:
                    contents = sealer.unseal(Sealed(row.key_id, row.sealed), place)
                except UnsealingFault:
                    unopened += 1
                    continue
                sealed = sealer.seal(contents, place)
                of_row = (col(AuditArguments.call_id) == row.call_id, col(AuditArguments.time) == row.time)
                statement = update(AuditArguments).where(*of_row)
                await session.execute(statement.values(key_id=sealed.key_id, sealed=sealed.data))
                resealed += 1
            await session.commit()
    return resealed, unopened


async def _older(
    sessions: async_sessionmaker[AsyncSession], newest: str, after: UUID
) -> Sequence[AuditArguments]:
    query = (
        select(AuditArguments)
        .where(col(AuditArguments.key_id) != newest, col(AuditArguments.call_id) > after)
        .order_by(col(AuditArguments.call_id))
        .limit(_PAGE)
    )
    async with sessions() as session:
        return list(await session.scalars(query))
