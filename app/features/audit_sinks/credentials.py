"""Credentials of sinks: encrypted for one sink and one origin, and decrypted only for sending."""

import json
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.crypto.keys import Sealed, Sealer, UnsealingFault
from app.features.audit_sinks.schemas import BearerSinkCredential, HeaderSinkCredential, NoSinkCredential
from app.models.audit import AuditSink
from app.outbound.http import origin_of

Header = tuple[bytes, bytes]
Credential = NoSinkCredential | BearerSinkCredential | HeaderSinkCredential


def _place(sink_id: UUID, url: str) -> bytes:
    """The associated data that binds an encrypted credential to its sink and origin."""
    return f"audit-sink {sink_id} {origin_of(url)}".encode()


def put_credential(sealer: Sealer, sink: AuditSink, credential: Credential) -> None:
    """Set the credential of a sink, bound to the origin of its current URL."""
    sink.credential_kind, sink.key_id, sink.sealed = credential.kind, None, None
    contents = credential.contents()
    if contents is not None:
        sealed = sealer.seal(json.dumps(contents).encode(), _place(sink.id, sink.url))
        sink.key_id, sink.sealed = sealed.key_id, sealed.data


def open_credential(
    sealer: Sealer, sink_id: UUID, url: str, key_id: str | None, sealed: bytes | None
) -> list[Header]:
    """The headers for a sink at its current URL. Never log the result. Raises ``UnsealingFault``."""
    if key_id is None or sealed is None:
        return []
    name, value = json.loads(sealer.unseal(Sealed(key_id, sealed), _place(sink_id, url)))
    return [(name.encode("ascii"), value.encode("ascii"))]


async def reseal_credentials(sessions: async_sessionmaker[AsyncSession], sealer: Sealer) -> tuple[int, int]:
    """Reencrypt every credential with the newest key, while the service runs; return how many, and how many no key can
    decrypt.

    A credential is replaced only if it is unchanged since it was read. There are few sinks, so they are read at once.
    """
    resealed, unopened = 0, 0
    query = select(AuditSink).where(col(AuditSink.key_id) != sealer.current_id)
    async with sessions() as session:
        rows = list(await session.scalars(query))
    for row in rows:
        place = _place(row.id, row.url)
        try:
            contents = sealer.unseal(Sealed(row.key_id or "", row.sealed or b""), place)
        except UnsealingFault:
            unopened += 1
            continue
        resealed += await _replace(sessions, row, sealer.seal(contents, place))
    return resealed, unopened


async def _replace(sessions: async_sessionmaker[AsyncSession], row: AuditSink, sealed: Sealed) -> int:
    statement = (
        update(AuditSink)
        .where(
            col(AuditSink.id) == row.id, col(AuditSink.url) == row.url, col(AuditSink.sealed) == row.sealed
        )
        .values(key_id=sealed.key_id, sealed=sealed.data, updated_at=col(AuditSink.updated_at))
        .returning(col(AuditSink.id))
        .execution_options(synchronize_session=False)
    )
    async with sessions() as session:
        changed = (await session.execute(statement)).all()
        await session.commit()
    return len(changed)
