"""Reencrypt stored credentials with the newest key, one at a time, while the service runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.access.credentials import credential_binding
from app.crypto.keys import Sealed, Sealer, UnsealingFault
from app.models.servers import Server, ServerCredential

_PAGE = 200


@dataclass(slots=True)
class Resealed:
    """The number of reencrypted credentials, and of those that no configured key decrypts."""

    done: int = 0
    unopened: int = 0


async def reseal(sessions: async_sessionmaker[AsyncSession], sealer: Sealer) -> Resealed:
    """Reencrypt every stored credential with the newest key. It can be interrupted and repeated at any time.

    No row is locked: a credential is replaced only if it is unchanged since it was read, so that a concurrent change
    stays. Its id stays, and so do the workers' caches.
    """
    outcome, after = Resealed(), UUID(int=0)
    while page := await _older(sessions, sealer.current_id, after):
        for row, server in page:
            after = row.id
            place = credential_binding(row, server)
            try:
                contents = sealer.unseal(Sealed(row.key_id, row.sealed), place)
            except UnsealingFault:
                outcome.unopened += 1
                continue
            outcome.done += await _replace(sessions, row, sealer.seal(contents, place))
    return outcome


async def _older(
    sessions: async_sessionmaker[AsyncSession], newest: str, after: UUID
) -> Sequence[tuple[ServerCredential, Server]]:
    query = (
        select(ServerCredential, Server)
        .join(Server, col(Server.id) == col(ServerCredential.server_id))
        .where(col(ServerCredential.key_id) != newest, col(ServerCredential.id) > after)
        .order_by(col(ServerCredential.id))
        .limit(_PAGE)
    )
    async with sessions() as session:
        return [(row, server) for row, server in await session.execute(query)]


async def _replace(sessions: async_sessionmaker[AsyncSession], row: ServerCredential, sealed: Sealed) -> int:
    statement = (
        update(ServerCredential)
        .where(col(ServerCredential.id) == row.id, col(ServerCredential.sealed) == row.sealed)
        .values(key_id=sealed.key_id, sealed=sealed.data)
        .returning(col(ServerCredential.id))
    )
    async with sessions() as session:
        changed = (await session.execute(statement)).all()
        await session.commit()
    return len(changed)
