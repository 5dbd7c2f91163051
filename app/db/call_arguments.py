"""Encrypted arguments of calls, kept outside the audit log for servers that choose so. Each opens only at its call."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.crypto.keys import Sealed, Sealer, UnsealingFault
from app.db.engine import plain_connection
from app.db.resealing import reseal
from app.domain.errors import Unavailable
from app.lib import strict_json
from app.models.audit import AuditArguments, AuditEvent

# A call and its arguments are written together; the slack covers a clock that was set back.
_NEAR = timedelta(days=1)
# Small transactions, because an open one holds back the sealing and the reading of the audit log.
_AT_ONCE = 5_000
_MAY_UPDATE = text("SELECT has_table_privilege('audit_arguments', 'UPDATE')")
_FORGET = """
DELETE FROM audit_arguments a USING (
    SELECT call_id, time FROM audit_arguments WHERE time < $1 AND call_id > $2 ORDER BY call_id LIMIT $3
) old
WHERE a.call_id = old.call_id AND a.time = old.time AND a.time < $1 RETURNING a.call_id
"""


def arguments_place(call_id: UUID) -> bytes:
    """The associated data that binds arguments to their call."""
    return b"arguments of call " + call_id.bytes


def open_arguments(sealer: Sealer, call_id: UUID, sealed: Sealed) -> Any:
    """Decrypt the arguments of a call. Raises ``UnsealingFault``."""
    return strict_json.loads(sealer.unseal(sealed, arguments_place(call_id)))


async def kept_arguments(session: AsyncSession, sealer: Sealer, call_id: UUID) -> tuple[bool, Any]:
    """Whether the arguments of a call are kept, and which they are.

    Raises ``Unavailable`` when they are sealed with a key that is not configured.
    """
    of_call = select(col(AuditEvent.time)).where(col(AuditEvent.id) == call_id).scalar_subquery()
    time = col(AuditArguments.time)
    statement = select(AuditArguments).where(
        col(AuditArguments.call_id) == call_id, time.between(of_call - _NEAR, of_call + _NEAR)
    )
    row = (await session.scalars(statement)).first()
    if row is None:
        return False, None
    try:
        return True, open_arguments(sealer, call_id, Sealed(row.key_id, row.sealed))
    except UnsealingFault:
        raise Unavailable(
            "These arguments are sealed with a key that is not configured; `scopegate keys list` names it."
        ) from None


async def reseal_arguments(sessions: async_sessionmaker[AsyncSession], sealer: Sealer) -> tuple[int, int]:
    """Reencrypt all arguments with the newest key; return how many, and how many no key can decrypt.

    The service can only add arguments, not change them: nothing is done unless the sessions are those of the tables'
    owner.
    """
    async with sessions() as session:
        if not await session.scalar(_MAY_UPDATE):
            return 0, 0
    return await reseal(
        sessions, sealer, AuditArguments, lambda row: arguments_place(row.call_id), together=True
    )


async def forget_arguments(owner_url: str, *, keep: timedelta, now: datetime) -> int:
    """Delete arguments older than ``keep``. Returns how many. Requires the owner of the tables.

    Raises ``DRIVER_FAULTS``.
    """
    async with plain_connection(owner_url) as connection:
        done, after = 0, UUID(int=0)
        while rows := await connection.fetch(_FORGET, now - keep, after, _AT_ONCE):
            done, after = done + len(rows), max(row["call_id"] for row in rows)
        return done
