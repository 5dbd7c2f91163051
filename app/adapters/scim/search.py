"""Searching the users and groups of a provider: the database filters, sorts and pages."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from scim2_models import Resource, ResourceType, SearchRequest
from scim2_server.storage import SearchPage
from sqlalchemy import ARRAY, Uuid, any_, literal, select
from sqlmodel import col

from app.adapters.scim import columns, groups, users
from app.adapters.scim.models import DirectoryUser, Group
from app.adapters.scim.paging import Place, find_page, shortened
from app.adapters.scim.work import Work
from app.models import groups as models
from app.models.identities import Identity, ScimUser

MOST_MEMBERS = 50_000
"""Of the groups of one page together; a page is shorter where they have more."""


def source_of(resource_type: ResourceType, provider_id: UUID) -> columns.Source:
    """Where the resources of a type are."""
    if resource_type.name == "User":
        return columns.users(provider_id, DirectoryUser)
    return columns.groups(provider_id, Group)


async def search(
    work: Work, resource_types: list[ResourceType], search_request: SearchRequest[Any], position: Any
) -> SearchPage:
    """One page of what matches, by index or, where ``search_request.cursor`` is not None, from ``position``.

    Raises ``InvalidFilterException`` and ``InvalidCursorException``.
    """
    sources = [source_of(resource_type, work.provider_id) for resource_type in resource_types]
    found = await find_page(work.session, sources, search_request, position)
    kept = await _fitting(
        work, found.places, search_request, back=bool(position) and position["d"] == "previous"
    )
    found = shortened(found, kept, search_request, position)
    resources = await _load(work, found.places, search_request)
    return SearchPage(found.total, resources, found.next, found.previous)


async def _fitting(work: Work, places: Sequence[Place], wanted: SearchRequest[Any], *, back: bool) -> int:
    """How many of these can be shown in one answer with all their members: one in any case."""
    ids = [place.id for place in places if place.rank == columns.GROUP_RANK]
    if not ids or not groups.shows_members(wanted):
        return len(places)
    counts = await groups.count_members(work, ids)
    members = 0
    for kept, place in enumerate(reversed(places) if back else places):
        members += counts.get(place.id, 0)
        if members > MOST_MEMBERS and kept > 0:
            return kept
    return len(places)


async def _load(work: Work, places: Sequence[Place], wanted: SearchRequest[Any]) -> list[Resource[Any]]:
    """The resources of these places, in their order. What was deleted since is left out."""
    user_ids = [place.id for place in places if place.rank == columns.USER_RANK]
    group_ids = [place.id for place in places if place.rank == columns.GROUP_RANK]
    loaded: dict[UUID, Resource[Any]] = {}
    if user_ids:
        loaded |= await _load_users(work, user_ids)
    if group_ids:
        loaded |= await _load_groups(work, group_ids, wanted)
    return [loaded[place.id] for place in places if place.id in loaded]


async def _load_users(work: Work, ids: Sequence[UUID]) -> dict[UUID, Resource[Any]]:
    query = (
        select(Identity, ScimUser)
        .join(ScimUser, col(ScimUser.identity_id) == col(Identity.id))
        .where(col(Identity.id) == any_(literal(list(ids), ARRAY(Uuid))))
        .execution_options(populate_existing=True)
    )
    rows = [(identity, user) for identity, user in await work.session.execute(query)]
    shown = await users.present(work, rows)
    return {identity.id: resource for (identity, _), resource in zip(rows, shown, strict=True)}


async def _load_groups(
    work: Work, ids: Sequence[UUID], wanted: SearchRequest[Any]
) -> dict[UUID, Resource[Any]]:
    query = select(models.Group).where(col(models.Group.id) == any_(literal(list(ids), ARRAY(Uuid))))
    rows = list(await work.session.scalars(query.execution_options(populate_existing=True)))
    shown = await groups.present(work, rows, wanted)
    return {row.id: resource for row, resource in zip(rows, shown, strict=True)}
