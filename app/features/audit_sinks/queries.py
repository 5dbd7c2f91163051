"""Queries of sinks and of their lag."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.audit_sinks.schemas import MAX_LAG_COUNT, AuditSinkLag, AuditSinkQuery
from app.http.pagination import Sorts, caseless
from app.models.audit import AuditSink

SORTS: Sorts = {"name": caseless(col(AuditSink.name))}
"""The sort orders of the list, with an index for each."""
_MAKING = 0x5C09EA51C
# Epochs separately, so that both parts scan the commit order and stop at the bound.
_LAG = text("""
SELECT (SELECT count(*) FROM (
    (SELECT FROM audit_events WHERE epoch = :epoch AND (xact, seq) > (:xact, :seq) LIMIT :most)
    UNION ALL (SELECT FROM audit_events WHERE epoch > :epoch LIMIT :most)
) waiting) AS events, coalesce(
    (SELECT time FROM audit_events WHERE epoch = :epoch AND (xact, seq) > (:xact, :seq)
     ORDER BY epoch, xact, seq LIMIT 1),
    (SELECT time FROM audit_events WHERE epoch > :epoch ORDER BY epoch, xact, seq LIMIT 1)
) AS oldest
""")


def select_sinks(query: AuditSinkQuery) -> Select[AuditSink]:
    """Select the sinks that match the filters, unordered."""
    statement = select(AuditSink)
    if query.include is None:
        statement = statement.where(col(AuditSink.ended_at).is_(None))
    if query.status:
        statement = statement.where(col(AuditSink.status).in_(query.status))
    if query.failing:
        statement = statement.where(col(AuditSink.failing_since).is_not(None))
    if query.q:
        statement = statement.where(col(AuditSink.name).icontains(query.q, autoescape=True))
    return statement


async def find(session: AsyncSession, id: UUID, *, ended: bool, lock: bool) -> AuditSink | None:
    """Find a sink, locked for a change on demand."""
    query = select(AuditSink).where(col(AuditSink.id) == id)
    if not ended:
        query = query.where(col(AuditSink.ended_at).is_(None))
    if lock:
        query = query.with_for_update()
    return (await session.execute(query)).scalar_one_or_none()


async def lock_creation(session: AsyncSession) -> None:
    """Serialize the creation of sinks until the transaction ends, so that the limit holds."""
    await session.execute(select(func.pg_advisory_xact_lock(_MAKING)))


async def count_live(session: AsyncSession) -> int:
    """The number of sinks that have not ended."""
    query = select(func.count()).select_from(AuditSink).where(col(AuditSink.ended_at).is_(None))
    return (await session.execute(query)).scalar_one()


async def lags_of(session: AsyncSession, sinks: Sequence[AuditSink]) -> dict[UUID, AuditSinkLag]:
    """The undelivered events of the sinks that have not ended. There are few sinks."""
    lags = {}
    for sink in sinks:
        if sink.ended_at is None:
            place = {"epoch": sink.epoch, "xact": sink.xact, "seq": sink.seq, "most": MAX_LAG_COUNT}
            row = (await session.execute(_LAG, place)).one()
            lags[sink.id] = AuditSinkLag(events=min(row.events, MAX_LAG_COUNT), since=row.oldest)
    return lags
