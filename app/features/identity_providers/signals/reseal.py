"""Reencrypt access tokens for transmitters with the newest key, while the service runs."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.crypto.keys import Sealed, Sealer, UnsealingFault
from app.features.identity_providers.signals.streams import place_of
from app.models.identity_providers import SignalStream


async def reseal_access(sessions: async_sessionmaker[AsyncSession], sealer: Sealer) -> tuple[int, int]:
    """Reencrypt every access token with the newest key; return how many, and how many no key can decrypt.

    A token is replaced only if it is unchanged since it was read. There is one for each provider, so they are read at
    once.
    """
    resealed, unopened = 0, 0
    query = select(SignalStream).where(col(SignalStream.key_id) != sealer.current_id)
    async with sessions() as session:
        rows = list(await session.scalars(query))
    for row in rows:
        try:
            contents = sealer.unseal(Sealed(row.key_id or "", row.sealed or b""), place_of(row))
        except UnsealingFault:
            unopened += 1
            continue
        resealed += await _replace(sessions, row, sealer.seal(contents, place_of(row)))
    return resealed, unopened


async def _replace(sessions: async_sessionmaker[AsyncSession], row: SignalStream, sealed: Sealed) -> int:
    statement = (
        update(SignalStream)
        .where(col(SignalStream.id) == row.id, col(SignalStream.sealed) == row.sealed)
        .values(key_id=sealed.key_id, sealed=sealed.data)
        .returning(col(SignalStream.id))
        .execution_options(synchronize_session=False)
    )
    async with sessions() as session:
        changed = (await session.execute(statement)).all()
        await session.commit()
    return len(changed)
