"""Queries of grants. What a grant reaches is the same as the selectors' ``matches`` of the domain."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    and_,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.grants.schemas import GrantQuery
from app.http.pagination import Sorts
from app.models.grants import Grant
from app.models.servers import Server
from app.models.tools import Tool


def _not_expired(now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    return and_(
        col(Grant.ended_at).is_(None), or_(col(Grant.expires_at).is_(None), col(Grant.expires_at) > now)
    )


def _has_status(status: str, now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """The same as ``schemas.status_of``, for the database."""
    if status == "ended":
        return col(Grant.ended_at).is_not(None)
    if status == "expired":
        return and_(col(Grant.ended_at).is_(None), col(Grant.expires_at) <= now)
    if status == "scheduled":
        return and_(_not_expired(now), col(Grant.not_before) > now)
    return and_(_not_expired(now), or_(col(Grant.not_before).is_(None), col(Grant.not_before) <= now))


def is_active(now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Whether a grant gives its right at a moment."""
    return _has_status("active", now)


SORTS: Sorts = {
    "expires_at": func.coalesce(col(Grant.expires_at), literal_column("'infinity'::timestamptz")),
}
"""What a list can be sorted by, with an index for each."""


def select_grants(wanted: GrantQuery, now: datetime) -> Select[Grant]:
    """The grants that a filter leaves."""
    statement = select(Grant)
    if wanted.status:
        statement = statement.where(or_(*(_has_status(status, now) for status in wanted.status)))
    if not wanted.asks_for_ended():
        statement = statement.where(col(Grant.ended_at).is_(None))
    if wanted.identity_id or wanted.group_id:
        # Two filters over the one principal: a grant has an identity or a group, so together they widen.
        statement = statement.where(
            or_(col(Grant.identity_id).in_(wanted.identity_id), col(Grant.group_id).in_(wanted.group_id))
        )
    if wanted.server_id:
        statement = statement.where(reaches_any(wanted.server_id))
    end = SORTS["expires_at"]
    if wanted.expires_after is not None:
        statement = statement.where(end > wanted.expires_after)
    if wanted.expires_before is not None:
        statement = statement.where(end < wanted.expires_before)
    if wanted.q:
        statement = statement.where(col(Grant.reason).icontains(wanted.q, autoescape=True))
    return statement


async def lock_grants(session: AsyncSession, ids: Iterable[UUID]) -> dict[UUID, Grant]:
    """Those of these grants that there are, locked in id order."""
    statement = select(Grant).where(col(Grant.id).in_(set(ids))).order_by(col(Grant.id)).with_for_update()
    return {
        grant.id: grant
        for grant in await session.scalars(statement.execution_options(populate_existing=True))
    }


async def lock_grants_of_group(session: AsyncSession, group_id: UUID) -> list[Grant]:
    """Every grant of a group that has not ended, locked in id order."""
    statement = (
        select(Grant)
        .where(col(Grant.group_id) == group_id, col(Grant.ended_at).is_(None))
        .order_by(col(Grant.id))
        .with_for_update()
    )
    return list(await session.scalars(statement))


async def group_holds_grants(session: AsyncSession, group_id: UUID) -> bool:
    """Whether a group has a grant that is live or will be, by the database's clock as calls are."""
    now = func.clock_timestamp()
    live = select(col(Grant.id)).where(col(Grant.group_id) == group_id, _not_expired(now))
    return bool(await session.scalar(select(live.exists())))


async def unknown_servers(session: AsyncSession, ids: Iterable[UUID]) -> set[UUID]:
    """Which of these are no servers, or ended ones."""
    wanted = set(ids)
    if not wanted:
        return wanted
    statement = select(col(Server.id)).where(col(Server.id).in_(wanted), col(Server.ended_at).is_(None))
    return wanted - set(await session.scalars(statement))


def reaches_server() -> ColumnElement[bool]:
    """Whether the servers of a row of ``grants`` take in a row of ``servers``, by its labels of now."""
    return _takes_in(cast(col(Server.id), Text), cast(col(Server.labels), JSONB))


def reaches_any(server_ids: Sequence[UUID]) -> ColumnElement[bool]:
    """Whether the servers of a row of ``grants`` take in one of these that live; each is looked up once, not by row."""
    conditions = []
    for id in server_ids:
        of_it = select(col(Server.labels)).where(col(Server.id) == id, col(Server.ended_at).is_(None))
        labels = of_it.scalar_subquery()
        conditions.append(and_(labels.is_not(None), _takes_in(literal(str(id), Text), labels)))
    return or_(*conditions)


def reaches_tool() -> ColumnElement[bool]:
    """Whether the tools of a row of ``grants`` take in a row of ``tools``, by its risk of now."""
    selector = col(Grant.tools)
    return or_(
        selector["kind"].as_string() == "all",
        selector["names"].has_key(col(Tool.name)),
        selector["risk"].has_key(col(Tool.risk)),
    )


def _takes_in(server_id: ColumnElement[str], labels: ColumnElement[Any]) -> ColumnElement[bool]:
    selector = col(Grant.servers)
    return or_(
        selector["kind"].as_string() == "all",
        selector["ids"].has_key(server_id),
        # No labels select nothing.
        and_(selector["labels"] != literal({}, JSONB), labels.contains(selector["labels"])),
    )
