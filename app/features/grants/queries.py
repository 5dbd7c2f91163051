"""Queries of grants. Selection in SQL agrees with the selectors' ``matches`` in the domain."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, cast, func, literal, literal_column, or_, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import FieldError, Invalid
from app.features.grants.schemas import GrantQuery
from app.http.pagination import Sorts
from app.models.access import Grant
from app.models.servers import Server, Tool


def _not_expired(now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    return col(Grant.ended_at).is_(None) & (col(Grant.expires_at).is_(None) | (col(Grant.expires_at) > now))


def _has_status(status: str, now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """The same as ``schemas.status_of``, in SQL."""
    if status == "ended":
        return col(Grant.ended_at).is_not(None)
    if status == "expired":
        return col(Grant.ended_at).is_(None) & (col(Grant.expires_at) <= now)
    if status == "scheduled":
        return _not_expired(now) & (col(Grant.not_before) > now)
    return _not_expired(now) & (col(Grant.not_before).is_(None) | (col(Grant.not_before) <= now))


def is_active(now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Whether a grant is effective at a given time."""
    return _has_status("active", now)


SORTS: Sorts = {"expires_at": func.coalesce(col(Grant.expires_at), literal_column("'infinity'::timestamptz"))}
"""The sort orders of the list, with an index for each."""


def select_grants(query: GrantQuery, now: datetime) -> Select[Grant]:
    """Select the grants that match a filter."""
    statement = select(Grant)
    if query.status:
        statement = statement.where(or_(*(_has_status(status, now) for status in query.status)))
    if not query.includes_ended():
        statement = statement.where(col(Grant.ended_at).is_(None))
    if query.identity_id or query.group_id:
        # Two filters on the one principal: a grant has an identity or a group, so they are combined by OR.
        statement = statement.where(
            or_(col(Grant.identity_id).in_(query.identity_id), col(Grant.group_id).in_(query.group_id))
        )
    if query.server_id:
        statement = statement.where(reaches_any(query.server_id))
    end = SORTS["expires_at"]
    if query.expires_after is not None:
        statement = statement.where(end > query.expires_after)
    if query.expires_before is not None:
        statement = statement.where(end < query.expires_before)
    if query.q:
        statement = statement.where(col(Grant.reason).icontains(query.q, autoescape=True))
    return statement


async def lock_grants(session: AsyncSession, ids: Iterable[UUID]) -> dict[UUID, Grant]:
    """Lock the existing grants among these in id order."""
    statement = select(Grant).where(col(Grant.id).in_(set(ids))).order_by(col(Grant.id)).with_for_update()
    locked = await session.scalars(statement.execution_options(populate_existing=True))
    return {grant.id: grant for grant in locked}


async def open_grants_of(
    session: AsyncSession, principal: Literal["identity_id", "group_id"], id: UUID, *, lock: bool
) -> list[Grant]:
    """The grants of an identity itself, or of a group, that have not ended, in id order; locked on demand."""
    column = col(Grant.identity_id) if principal == "identity_id" else col(Grant.group_id)
    statement = select(Grant).where(column == id, col(Grant.ended_at).is_(None)).order_by(col(Grant.id))
    return list(await session.scalars(statement.with_for_update() if lock else statement))


async def group_holds_grants(session: AsyncSession, group_id: UUID) -> bool:
    """Whether a group has a grant that is or will be effective, by the database's clock."""
    now = func.clock_timestamp()
    live = select(col(Grant.id)).where(col(Grant.group_id) == group_id, _not_expired(now))
    return bool(await session.scalar(select(live.exists())))


async def unknown_servers(session: AsyncSession, ids: Iterable[UUID]) -> set[UUID]:
    """Find those of these ids that are not servers, or are ended ones."""
    requested = set(ids)
    if not requested:
        return requested
    statement = select(col(Server.id)).where(col(Server.id).in_(requested), col(Server.ended_at).is_(None))
    return requested - set(await session.scalars(statement))


def reject_unknown_servers(
    references: Iterable[tuple[str, UUID]], unknown: Collection[UUID], what: str
) -> None:
    """Raise ``Invalid`` with each pointer to an unknown server, in a selector or scope, which ``what`` says."""
    errors = [
        FieldError(pointer, "not_found", "There is no such server.")
        for pointer, id in references
        if id in unknown
    ]
    if errors:
        raise Invalid(f"The {what} names servers that do not exist; see errors.", errors=errors)


def reaches_server() -> ColumnElement[bool]:
    """Whether the servers of a row of ``grants`` include a row of ``servers``, by its current labels."""
    return _includes(cast(col(Server.id), Text), cast(col(Server.labels), JSONB))


def reaches_any(server_ids: Sequence[UUID]) -> ColumnElement[bool]:
    """Whether the servers of a row of ``grants`` include one of these; each is looked up once, not per row."""
    conditions = []
    for id in server_ids:
        of_it = select(col(Server.labels)).where(col(Server.id) == id, col(Server.ended_at).is_(None))
        labels = of_it.scalar_subquery()
        conditions.append(labels.is_not(None) & _includes(literal(str(id), Text), labels))
    return or_(*conditions)


def reaches_tool() -> ColumnElement[bool]:
    """Whether the tools of a row of ``grants`` include a row of ``tools``, by its current risk."""
    selector = col(Grant.tools)
    return or_(
        selector["kind"].as_string() == "all",
        selector["names"].has_key(col(Tool.name)),
        selector["risk"].has_key(col(Tool.risk)),
    )


def _includes(server_id: ColumnElement[str], labels: ColumnElement[Any]) -> ColumnElement[bool]:
    selector = col(Grant.servers)
    return or_(
        selector["kind"].as_string() == "all",
        selector["ids"].has_key(server_id),
        # Empty labels select nothing.
        (selector["labels"] != literal({}, JSONB)) & labels.contains(selector["labels"]),
    )
