"""Queries over sinks, and how far behind the trail they are."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.audit_sinks.schemas import MOST_COUNTED, AuditSinkLag, AuditSinkQuery
from app.http.pagination import Sorts, caseless
from app.models.audit_sinks import AuditSink

SORTS: Sorts = {"name": caseless(col(AuditSink.name))}
"""What a list can be sorted by, with an index for each."""
_MAKING = 0x5C09EA51C
# Epochs apart, so that both parts walk the order of the log and stop at the bound.
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
    """The sinks that the filters leave, in no order."""
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
    """A sink, locked for a change if asked."""
    query = select(AuditSink).where(col(AuditSink.id) == id)
    if not ended:
        query = query.where(col(AuditSink.ended_at).is_(None))
    if lock:
        query = query.with_for_update()
    return (await session.execute(query)).scalar_one_or_none()


async def lock_making(session: AsyncSession) -> None:
    """Let one request at a time make a sink, until its transaction ends: what it counts stays true meanwhile."""
    await session.execute(select(func.pg_advisory_xact_lock(_MAKING)))


async def count_live(session: AsyncSession) -> int:
    """How many sinks there are that have not ended."""
    query = select(func.count()).select_from(AuditSink).where(col(AuditSink.ended_at).is_(None))
    return (await session.execute(query)).scalar_one()


async def lags_of(session: AsyncSession, sinks: Sequence[AuditSink]) -> dict[UUID, AuditSinkLag]:
    """What the sinks that have not ended have not been given yet. There are few of them."""
    found = {}
    for sink in sinks:
        if sink.ended_at is None:
            place = {"epoch": sink.epoch, "xact": sink.xact, "seq": sink.seq, "most": MOST_COUNTED}
            row = (await session.execute(_LAG, place)).one()
            found[sink.id] = AuditSinkLag(events=min(row.events, MOST_COUNTED), since=row.oldest)
    return found
