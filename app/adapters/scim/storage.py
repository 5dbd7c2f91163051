"""The storage behind ``scim2-server``: sends each operation to the users or the groups of one provider."""

from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from scim2_models import Resource, ResourceType, ResponseParameters, SearchRequest
from scim2_server.storage import AsyncScimStorage, SearchPage

from app.adapters.scim import groups, search, users
from app.adapters.scim.models import Group
from app.adapters.scim.work import Work

USER = "User"


class Storage(AsyncScimStorage):
    """The users and groups that a provider provisions, within one request.

    ``users`` and ``groups`` each have ``get(work, id, lock=)``, ``create(work, resource)``,
    ``update(work, resource, expected_version)`` and ``delete(work, id, expected_version)``; they raise the exceptions
    of ``scim2_models`` and our domain errors, which ``service.py`` maps.
    """

    supports_cursors = True

    def __init__(self, work: Work) -> None:
        self._work = work

    async def get(
        self,
        resource_type: ResourceType,
        resource_id: str,
        *,
        response_parameters: ResponseParameters[Any] | None = None,
    ) -> Resource[Any]:
        """A resource. Without ``response_parameters`` it is read to be changed, so it is locked: of two changes one
        is after the other, and neither is told to come back."""
        lock = response_parameters is None
        if resource_type.name == USER:
            return await users.get(self._work, resource_id, lock=lock)
        return await groups.get(self._work, resource_id, lock=lock, shown=response_parameters)

    async def search(
        self,
        resource_types: list[ResourceType],
        search_request: SearchRequest[Any],
        *,
        position: Any = None,
    ) -> SearchPage:
        """One page of the provider's users, groups or both."""
        return await search.search(self._work, resource_types, search_request, position)

    async def create(self, resource_type: ResourceType, resource: Resource[Any]) -> Resource[Any]:
        """Make a resource."""
        if resource_type.name == USER:
            return await users.create(self._work, resource)
        return await groups.create(self._work, cast("Group", resource))

    async def update(
        self, resource_type: ResourceType, resource: Resource[Any], *, expected_version: str | None = None
    ) -> Resource[Any]:
        """Give a resource the whole state that ``resource`` has."""
        if resource_type.name == USER:
            return await users.update(self._work, resource, expected_version)
        return await groups.update(self._work, cast("Group", resource), expected_version)

    async def delete(
        self, resource_type: ResourceType, resource_id: str, *, expected_version: str | None = None
    ) -> None:
        """End a resource."""
        if resource_type.name == USER:
            await users.delete(self._work, resource_id, expected_version)
        else:
            await groups.delete(self._work, resource_id, expected_version)

    def operation(self) -> AbstractAsyncContextManager[None]:
        """One operation, in a savepoint of its own."""
        return self._work.operation()
