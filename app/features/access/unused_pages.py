"""One page of the report on stale access: grants first, then tokens, each from the newest that is old enough on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.access.unused import GrantFinding, Judge, StaleState
from app.features.access.unused_schemas import StaleAccess, StaleGrantView, StaleQuery, StaleTokenView
from app.features.grants.queries import is_active
from app.features.tokens.queries import can_reach, of_members
from app.models.grants import Grant
from app.models.tokens import Token, TokenUse

# A page ends when it has looked at so many, however few of them are stale. Tokens are judged by the database.
GRANTS_A_PAGE = 1_000
TOKENS_A_PAGE = 10_000
_AT_ONCE = 100
Position = tuple[str, UUID | None]
"""The kind to go on with, and after which of them; ``None``: from its start."""
_LAST_ID = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Window:
    """From ``since`` until ``now``, by the database's clock."""

    since: datetime
    now: datetime


def read_position(position: Sequence[Any] | None) -> Position:
    """Where a cursor stands."""
    if position is None:
        return "grant", None
    return str(position[0]), None if position[1] is None else UUID(position[1])


async def page_of(
    session: AsyncSession, judge: Judge, query: StaleQuery, window: Window, position: Position
) -> tuple[list[StaleAccess], Position | None]:
    """A page, and where to go on; ``None`` at the end."""
    kind, after = position
    items: list[StaleAccess] = []
    kinds = set(query.kind or ["grant", "token"])
    if query.grant_id:
        kinds.discard("token")
    if kind == "grant" and "grant" in kinds:
        grants, following = await _grants(session, judge, query, window, after)
        items += [StaleGrantView.of(found) for found in grants]
        if following is not None:
            return items, ("grant", following)
    if "token" not in kinds or StaleState.UNUSED not in query.state:
        return items, None
    if len(items) == query.limit:
        return items, ("token", None)
    after = after if kind == "token" else None
    tokens, following = await _tokens(session, query, window, after, query.limit - len(items))
    items += [StaleTokenView.of(row, last_used_at) for row, last_used_at in tokens]
    return items, None if following is None else ("token", following)


async def _grants(
    session: AsyncSession, judge: Judge, query: StaleQuery, window: Window, after: UUID | None
) -> tuple[list[GrantFinding], UUID | None]:
    found: list[GrantFinding] = []
    for _ in range(GRANTS_A_PAGE // _AT_ONCE):
        rows = list(await session.scalars(_live_grants(query, window, after)))
        for finding in await judge.findings(rows):
            if finding.state not in query.state:
                continue
            if query.server_id is not None and query.server_id not in finding.reach:
                continue
            if len(found) == query.limit:
                return found, found[-1].grant.id
            found.append(finding)
        if len(rows) < _AT_ONCE:
            return found, None
        after = rows[-1].id
    return found, after


def _live_grants(query: StaleQuery, window: Window, after: UUID | None) -> Select[Grant]:
    statement = select(Grant).where(is_active(window.now))
    if StaleState.UNKNOWN not in query.state:
        # What is younger than the window is never judged.
        statement = statement.where(col(Grant.created_at) <= window.since)
    if query.identity_id or query.group_id:
        statement = statement.where(
            or_(col(Grant.identity_id).in_(query.identity_id), col(Grant.group_id).in_(query.group_id))
        )
    if query.grant_id:
        statement = statement.where(col(Grant.id).in_(query.grant_id))
    if after is not None:
        statement = statement.where(col(Grant.id) < after)
    return statement.order_by(col(Grant.id).desc()).limit(_AT_ONCE)


async def _tokens(
    session: AsyncSession, query: StaleQuery, window: Window, after: UUID | None, limit: int
) -> tuple[list[tuple[Token, datetime | None]], UUID | None]:
    # Ids are made in the order of time, and of a million tokens most may be younger than the window.
    after = min(after or _LAST_ID, _last_id_of(window.since))
    within = [col(Token.id) < after]
    if query.identity_id or query.group_id:
        within.append(
            or_(col(Token.identity_id).in_(query.identity_id), *(of_members(id) for id in query.group_id))
        )
    looked = select(col(Token.id)).where(*within).order_by(col(Token.id).desc())
    last = await session.scalar(looked.offset(TOKENS_A_PAGE - 1).limit(1))
    statement = (
        select(Token, col(TokenUse.last_used_at))
        .outerjoin(TokenUse, col(TokenUse.token_id) == col(Token.id))
        .where(
            *within,
            col(Token.id) >= (last or UUID(int=0)),
            col(Token.revoked_at).is_(None),
            col(Token.expires_at) > window.now,
            col(Token.created_at) <= window.since,
            func.coalesce(col(TokenUse.last_used_at), col(Token.created_at)) <= window.since,
        )
    )
    if query.server_id is not None:
        statement = statement.where(can_reach(query.server_id))
    rows = await session.execute(statement.order_by(col(Token.id).desc()).limit(limit + 1))
    found: list[tuple[Token, datetime | None]] = [(row[0], row[1]) for row in rows]
    if len(found) > limit:
        return found[:limit], found[limit - 1][0].id
    return found, last


def _last_id_of(time: datetime) -> UUID:
    """An id above all that were made until a time, give or take what clocks differ by."""
    return UUID(int=(int(time.timestamp() * 1000) + 60_000) << 80)
