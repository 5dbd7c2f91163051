"""The SCIM storage of one provider: reads, changes, filtering, sorting and paging.

Resources without the sorted value come last, or first in descending order; equal values are sorted by id. The order is
therefore total, and a cursor is the position of a resource in it (RFC 9865): creating or deleting resources between
pages neither repeats nor hides any.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import scim2_models as scim
import sqlalchemy as sa
from scim2_server.storage import AsyncScimStorage, SearchPage
from sqlalchemy.types import TypeEngine
from sqlmodel import col

from app.adapters.scim import columns, groups, users
from app.adapters.scim.columns import Complex, Many, Source, Value
from app.adapters.scim.filters import condition
from app.adapters.scim.models import DirectoryUser, Group
from app.adapters.scim.work import Work
from app.db.rows import is_one_of
from app.models import identities as models
from app.models.identities import Identity, ScimUser

MAX_OFFSET = 2**31
"""The maximum start index; larger ones are past the end."""
MAX_MEMBERS = 50_000
"""The maximum number of group members in a page, which is shortened otherwise."""
_USER = "User"
_TYPES: dict[str, TypeEngine[Any]] = {
    "text": sa.Text(),
    "id": sa.Text(),
    "bool": sa.Boolean(),
    "time": sa.DateTime(timezone=True),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the order: the sorted value (None without one), the resource type, the id."""

    value: Any
    rank: int
    id: UUID


class _Order:
    """The results of a search as rows (value, rank, id), and their order."""

    def __init__(self, sources: Sequence[Source], request: scim.SearchRequest[Any]) -> None:
        values = [_sorted_by(source, request) for source in sources]
        self.down = (
            request.sort_by is not None and request.sort_order == scim.SearchRequest.SortOrder.descending
        )
        self.kind = next((value.kind for value in values if value is not None), None)

        type = sa.Text() if self.kind is None else _TYPES[self.kind]
        parts = []
        for source, value in zip(sources, values, strict=True):
            sorted_by = sa.cast(sa.null(), type) if value is None else value.expression
            part = sa.select(
                sorted_by.label("value"), sa.literal(source.rank).label("rank"), source.id.label("id")
            )
            part = part.where(source.where)
            if request.filter is not None:
                part = part.where(condition(source, request.filter))
            if source.joined is not None and source.joined[0] in part.get_final_froms():
                # A join, since PostgreSQL drops a condition next to one that is always false.
                part = part.select_from(source.id.table.join(*source.joined))
            parts.append(part)
        self.results = (parts[0] if len(parts) == 1 else sa.union_all(*parts)).subquery()

    @property
    def value(self) -> sa.ColumnElement[Any]:
        """The sorted value; text by code points, independent of the database's collation."""
        column = self.results.c.value
        return column.collate("C") if self.kind in {"text", "id"} else column

    def sorted(self, *, back: bool = False) -> sa.Select[Any]:
        """All results, in forward or backward order."""
        results = self.results
        keys: list[sa.ColumnElement[Any]] = [results.c.rank, results.c.id]
        if self.kind is not None:
            keys = [results.c.value.is_(None), self.value, *keys]
        if self.down != back:
            keys = [key.desc() for key in keys]
        return sa.select(results.c.value, results.c.rank, results.c.id).order_by(*keys)

    def beyond(self, place: Place, *, back: bool) -> sa.ColumnElement[bool]:
        """The results after a position, or before it."""
        results = self.results
        down = self.down != back
        own = sa.func.row(results.c.rank, results.c.id)
        other = sa.func.row(sa.literal(place.rank), sa.literal(place.id))
        by_id = own < other if down else own > other
        if self.kind is None:
            return by_id
        if place.value is None:
            # Resources without a value are last, or first in descending order.
            without = sa.and_(results.c.value.is_(None), by_id)
            return sa.or_(results.c.value.is_not(None), without) if down else without
        value = sa.literal(place.value, _TYPES[self.kind])
        further = self.value < value if down else self.value > value
        same = sa.and_(results.c.value == value, by_id)
        return sa.or_(further, same) if down else sa.or_(further, same, results.c.value.is_(None))

    def read(self, position: Any) -> tuple[bool, Place]:
        """Parse a cursor: whether it leads back, and its position. Raises ``InvalidCursorException``."""
        try:
            direction, value, rank, id = (position[key] for key in ("d", "v", "r", "i"))
            if self.kind == "time" and value is not None:
                value = datetime.fromisoformat(value)
            place = Place(value, int(rank), UUID(hex=id))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise scim.InvalidCursorException from None
        is_valid = value is None or (
            self.kind is not None and isinstance(value, _TYPES[self.kind].python_type)
        )
        if direction not in {"next", "previous"} or not is_valid:
            raise scim.InvalidCursorException
        return direction == "previous", place


def _sorted_by(source: Source, request: scim.SearchRequest[Any]) -> Value | None:
    """The value that resources are sorted by; None if they have no such attribute."""
    bound = request.sort_binding(source.model)
    if bound is None:
        return None
    attribute = source.read(bound)
    part = bound.urn.rpartition(":")[2].partition(".")[2] or "value"
    value = attribute if isinstance(attribute, Value) else attribute.parts.get(part)
    if value is None or (isinstance(attribute, Complex) and part == "value"):
        raise scim.InvalidFilterException(detail=f"Sorting by '{bound.urn}' is not supported")
    expression = value.expression
    if value.kind in {"text", "id"} and not bound.case_exact:
        expression = sa.func.lower(expression)
    if isinstance(attribute, Many):
        first = sa.select(expression).select_from(attribute.rows).where(attribute.where)
        expression = first.order_by(*attribute.order).limit(1).scalar_subquery()
    return Value(expression, value.kind)


def _position(direction: str, place: Place) -> dict[str, Any]:
    """A cursor as JSON."""
    value = place.value.isoformat() if isinstance(place.value, datetime) else place.value
    return {"d": direction, "v": value, "r": place.rank, "i": place.id.hex}


async def _count_fitting(work: Work, places: Sequence[Place], request: scim.SearchRequest[Any]) -> int:
    """How many of these, from the first on, can be returned with all their members; at least one."""
    ids = [place.id for place in places if place.rank == columns.GROUP_RANK]
    if not ids or not groups.shows_members(request):
        return len(places)
    # Members that the directory does not see are counted too.
    group_id = columns.MEMBERS.c.group_id
    query = sa.select(group_id, sa.func.count()).where(is_one_of(group_id, ids)).group_by(group_id)
    counts = {row[0]: row[1] for row in await work.session.execute(query)}
    members = 0
    for kept, place in enumerate(places):
        members += counts.get(place.id, 0)
        if members > MAX_MEMBERS and kept > 0:
            return kept
    return len(places)


async def _load(
    work: Work, places: Sequence[Place], request: scim.SearchRequest[Any]
) -> list[scim.Resource[Any]]:
    """Load the resources of a page in order. Resources that were deleted since are left out."""
    user_ids = [place.id for place in places if place.rank == columns.USER_RANK]
    group_ids = [place.id for place in places if place.rank == columns.GROUP_RANK]
    loaded = await _load_users(work, user_ids) if user_ids else {}
    if group_ids:
        query = sa.select(models.Group).where(is_one_of(models.Group.id, group_ids))
        rows = list(await work.session.scalars(query.execution_options(populate_existing=True)))
        shown = await groups.present(work, rows, request)
        loaded |= {row.id: resource for row, resource in zip(rows, shown, strict=True)}
    return [loaded[place.id] for place in places if place.id in loaded]


async def _load_users(work: Work, ids: Sequence[UUID]) -> dict[UUID, scim.Resource[Any]]:
    query = (
        sa.select(Identity, ScimUser)
        .join(ScimUser, col(ScimUser.identity_id) == col(Identity.id))
        .where(is_one_of(Identity.id, ids))
        .execution_options(populate_existing=True)
    )
    rows = [(identity, user) for identity, user in await work.session.execute(query)]
    shown = await users.present(work, rows)
    return {identity.id: resource for (identity, _), resource in zip(rows, shown, strict=True)}


class Storage(AsyncScimStorage):
    """The provider's users and groups, within one request.

    The modules ``users`` and ``groups`` each have ``create(work, resource)``, ``update(work, resource,
    expected_version)`` and ``delete(work, id, expected_version)``. They raise exceptions of ``scim2_models`` and domain
    errors, which ``service.py`` maps. With ``bare_groups``, a group is read for a change without its members, since
    those of a large one take seconds.
    """

    supports_cursors = True

    def __init__(self, work: Work, *, bare_groups: bool = False) -> None:
        self._work = work
        self._bare_groups = bare_groups

    async def get(
        self,
        resource_type: scim.ResourceType,
        resource_id: str,
        *,
        response_parameters: scim.ResponseParameters[Any] | None = None,
    ) -> scim.Resource[Any]:
        """Read a resource. Without ``response_parameters`` it is read for a change and locked: concurrent changes wait
        for each other instead of failing."""
        lock = response_parameters is None
        if resource_type.name == _USER:
            return await users.get(self._work, resource_id, lock=lock)
        row = await groups.find(self._work, resource_id, lock=lock)
        if lock and self._bare_groups:
            return groups.present_row(row)
        return (await groups.present(self._work, [row], response_parameters))[0]

    async def search(
        self,
        resource_types: list[scim.ResourceType],
        search_request: scim.SearchRequest[Any],
        *,
        position: Any = None,
    ) -> SearchPage:
        """Find a page by index or, if ``search_request.cursor`` is not None, from ``position``. With a cursor, the
        total is not counted.

        Raises ``InvalidFilterException`` and ``InvalidCursorException``.
        """
        work, request = self._work, search_request
        people, teams = (
            columns.users(work.provider_id, DirectoryUser),
            columns.groups(work.provider_id, Group),
        )
        order = _Order([people if type.name == _USER else teams for type in resource_types], request)
        back, anchor = (False, None) if position is None else order.read(position)
        query, total = order.sorted(back=back), None
        if request.cursor is None:
            total = int(await work.session.scalar(sa.select(sa.func.count()).select_from(order.results)) or 0)
            query = query.offset(min((request.start_index or 1) - 1, MAX_OFFSET))
        elif anchor is not None:
            query = query.where(order.beyond(anchor, back=back))
        if request.count is not None:
            query = query.limit(request.count + 1)
        rows = [] if request.count == 0 else await work.session.execute(query)
        places = [Place(row.value, row.rank, row.id) for row in rows]
        page = places[: await _count_fitting(work, places[: request.count], request)]
        if request.cursor is None or not page:
            return SearchPage(total, await _load(work, page, request))
        ahead = len(page) < len(places)
        more = order.sorted().order_by(None).where(order.beyond(page[0], back=not back))
        behind = anchor is not None and bool(await work.session.scalar(sa.select(more.exists())))
        if back:
            page.reverse()
            ahead, behind = behind, ahead
        return SearchPage(
            total,
            await _load(work, page, request),
            next=_position("next", page[-1]) if ahead else None,
            previous=_position("previous", page[0]) if behind else None,
        )

    async def create(
        self, resource_type: scim.ResourceType, resource: scim.Resource[Any]
    ) -> scim.Resource[Any]:
        """Create a resource."""
        if resource_type.name == _USER:
            return await users.create(self._work, resource)
        return await groups.create(self._work, cast("Group", resource))

    async def update(
        self,
        resource_type: scim.ResourceType,
        resource: scim.Resource[Any],
        *,
        expected_version: str | None = None,
    ) -> scim.Resource[Any]:
        """Replace a resource's state."""
        if resource_type.name == _USER:
            return await users.update(self._work, resource, expected_version)
        return await groups.update(self._work, cast("Group", resource), expected_version)

    async def delete(
        self, resource_type: scim.ResourceType, resource_id: str, *, expected_version: str | None = None
    ) -> None:
        """Delete a resource."""
        if resource_type.name == _USER:
            await users.delete(self._work, resource_id, expected_version)
        else:
            await groups.delete(self._work, resource_id, expected_version)

    def operation(self) -> AbstractAsyncContextManager[None]:
        """Open a savepoint for one operation."""
        return self._work.operation()
