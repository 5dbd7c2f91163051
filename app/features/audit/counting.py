"""How many calls somebody made of late, up to a number: never a count of everything."""

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, and_, any_, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.audit.schemas import AuditFilters
from app.features.audit.spans import skip
from app.models.audit import AuditEvent


async def count_calls(session: AsyncSession, actors: Collection[UUID], span: timedelta, most: int) -> int:
    """The calls of tools that these identities asked for in the last ``span``, admitted or not; ``most`` at most."""
    if not actors:
        return 0
    query = AuditFilters(since=await session.scalar(select(func.now() - span)))
    # The index of actors goes by the order of commits: whoever called for years is not walked through.
    epoch, xact, _ = await skip(session, query, (0, 0, 0))
    chosen = (
        select(literal(1))
        .where(
            col(AuditEvent.actor_id) == any_(literal(list(actors), ARRAY(Uuid))),
            or_(
                col(AuditEvent.epoch) > epoch,
                and_(col(AuditEvent.epoch) == epoch, col(AuditEvent.xact) >= xact),
            ),
            col(AuditEvent.action) == "tool.call",
            col(AuditEvent.time) >= query.since,
        )
        .limit(most)
        .subquery()
    )
    return int(await session.scalar(select(func.count()).select_from(chosen)) or 0)
