"""Which tokens live: as conditions that indexes serve, however many there are that have ended, or people."""

from collections.abc import Collection

from sqlalchemy import Boolean, ColumnElement, String, and_, false, func, literal_column, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.models.tokens import Token

# Asked for each link by key: planned as a join, it would read all identities for every token.
_STOPPED_SQL = """EXISTS (
    WITH RECURSIVE link AS (
        SELECT tokens.parent_id, tokens.identity_id
        UNION ALL
        SELECT above.parent_id, above.identity_id FROM tokens above JOIN link ON above.id = link.parent_id
    )
    SELECT 1 FROM link WHERE (
        SELECT holder.status <> 'active' OR coalesce(
            (SELECT owner.status <> 'active' FROM identities owner WHERE owner.id = holder.owner_id), false
        )
        FROM identities holder WHERE holder.id = link.identity_id
    )
)"""
STATUS_SQL = f"""CASE
    WHEN tokens.revoked_at IS NOT NULL THEN 'revoked'
    WHEN tokens.expires_at <= now() THEN 'expired'
    WHEN {_STOPPED_SQL} THEN 'suspended'
    ELSE 'active' END"""
"""As `domain.access.liveness` sees it: the token and every ancestor, their identities and those identities' owners."""
STATUS: ColumnElement[str] = literal_column(STATUS_SQL, String)

# The same from the other end, for when it is they who are wanted: few among many. A live token's ancestors live too.
_OF_STOPPED_SQL = """tokens.id IN (
    WITH RECURSIVE held AS (
        SELECT mine.id FROM (
            SELECT id FROM identities WHERE status <> 'active'
            UNION
            SELECT agent.id FROM identities agent JOIN identities owner ON owner.id = agent.owner_id
            WHERE owner.status <> 'active'
        ) stopped
        JOIN tokens mine ON mine.identity_id = stopped.id
        WHERE mine.revoked_at IS NULL AND mine.expires_at > now()
        UNION
        SELECT below.id FROM tokens below JOIN held ON below.parent_id = held.id
    )
    SELECT id FROM held
)"""


def has_status(statuses: Collection[str]) -> ColumnElement[bool]:
    """Tokens with one of these statuses, which are those of ``STATUS_SQL``."""
    revoked, expired = col(Token.revoked_at).is_not(None), col(Token.expires_at) <= func.now()
    wanted = set(statuses)
    parts: list[ColumnElement[bool]] = [false()]
    if "revoked" in wanted:
        parts.append(revoked)
    if "expired" in wanted:
        parts.append(and_(not_(revoked), expired))
    if "active" in wanted or "suspended" in wanted:
        parts.append(and_(not_(revoked), not_(expired), *_whose_holders(wanted)))
    return or_(*parts)


async def count_active(session: AsyncSession, most: int) -> int:
    """How many tokens are active, up to ``most``: it stops there, and passes over what has expired."""
    # In the order of an index, or those that have ended would be read one after another.
    found = (
        select(col(Token.id))
        .where(has_status(["active"]))
        .order_by(col(Token.expires_at), col(Token.id))
        .limit(most)
    )
    return int(await session.scalar(select(func.count()).select_from(found.subquery())) or 0)


def _whose_holders(wanted: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    """What beside time tells the active from the suspended, where only one of the two is wanted."""
    if "suspended" not in wanted:
        return (not_(literal_column(_STOPPED_SQL, Boolean)),)
    return () if "active" in wanted else (literal_column(_OF_STOPPED_SQL, Boolean),)
