"""Processing of SCIM requests: large groups are changed without reading all members, and large bodies are parsed in a
thread."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from scim2_models import PatchOp, Resource, ResourceType
from scim2_server.conditions import Conditions
from scim2_server.handler import AsyncScimHandler
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import Operation
from scim2_server.service import ScimService

from app.adapters.scim import groups
from app.adapters.scim import leniency as group_patch
from app.adapters.scim.models import Group
from app.adapters.scim.storage import Storage
from app.adapters.scim.work import Work, read_in_thread

_GROUP = "Group"
Result = TypeVar("Result")


class Handler(AsyncScimHandler):
    """Handles one request."""

    def __init__(self, service: ScimService, work: Work) -> None:
        super().__init__(service, Storage(work))
        self._work = work
        self._query: dict[str, str] = {}

    async def create(self, request: ScimRequest) -> ScimResponse:
        """Create a resource."""
        with self.service.provider:
            target = self.service.route(request, Operation.create)
            resource_type = self.service.resource_type_at(cast("str", target.endpoint))
            self.service.authorize(request, target, resource_type)
            read = partial(self.service.read_creation, resource_type)
            resource = await _read(request, read)
            async with self.storage.operation():
                created = await self.storage.create(resource_type, resource)
            return self.service.creation_response(request.base_url, created)

    async def bulk(self, request: ScimRequest) -> ScimResponse:
        """Handle a bulk request."""
        with self.service.provider:
            self.service.route(request, Operation.bulk)
            plan = await _read(request, self.service.read_bulk)
            for step in plan:
                plan.record(step, *await self.run_bulk_step(request, plan, step))
            return self.service.bulk_response(plan)

    async def patch(self, request: ScimRequest) -> ScimResponse:
        """Modify a resource; a group is only returned if the query selects attributes."""
        self._query = dict(request.query)
        return await super().patch(request)

    async def replace(self, request: ScimRequest) -> ScimResponse:
        """Replace a resource."""
        with self.service.provider:
            target = self.service.route(request, Operation.replace)
            resource_type = self.service.resource_type_at(cast("str", target.endpoint))
            if resource_type.name != _GROUP:
                return await super().replace(request)
            self.service.authorize(request, target, resource_type)
            shown = self.service.read_response_parameters(resource_type, request.query)
            replacement = await _read(request, partial(self.service.read_replacement, resource_type))
            async with self.storage.operation():
                current = await self._bare(str(target.resource_id))
                conditions = self.service.read_conditions(request)
                resource = await self.replace_resource(resource_type, current, replacement, conditions)
            return self.service.replacement_response(request.base_url, resource, shown)

    async def replace_resource(
        self,
        resource_type: ResourceType,
        current: Resource[Any],
        replacement: Resource[Any],
        conditions: Conditions,
    ) -> Resource[Any]:
        """Apply a replacement. The members of a group are compared by the database."""
        if not isinstance(current, Group) or not isinstance(replacement, Group):
            return await super().replace_resource(resource_type, current, replacement, conditions)
        without = {"members": None}
        wanted = replacement.model_copy(update=without)
        self.service.apply_replacement(current.model_copy(update=without), wanted, conditions)
        wanted = wanted.model_copy(update={"members": replacement.members})
        return await self.storage.update(resource_type, wanted)

    async def patch_resource(
        self,
        resource_type: ResourceType,
        resource_id: str,
        patch_op: "PatchOp[Any]",
        conditions: Conditions,
    ) -> Resource[Any]:
        """Apply a PATCH. For a group, only the rows of the affected members are read."""
        if resource_type.name != _GROUP:
            return await super().patch_resource(resource_type, resource_id, patch_op, conditions)
        rest, edits = group_patch.split(patch_op)
        row = await groups.find(self._work, resource_id, lock=True)
        (wanted,) = groups.bare([row])
        patched = self.service.apply_patch(wanted, rest, conditions)
        await groups.rename(self._work, row, cast("Group", patched or wanted))
        await group_patch.apply_edits(self._work, row, edits)
        if not {"attributes", "excludedAttributes"} & self._query.keys():
            return groups.bare([row])[0]
        shown = self.service.read_response_parameters(resource_type, self._query)
        return (await groups.present(self._work, [row], shown))[0]

    async def delete_resource(
        self, resource_type: ResourceType, resource_id: str, conditions: Conditions
    ) -> None:
        """Delete a resource if its conditions hold."""
        if resource_type.name != _GROUP:
            await super().delete_resource(resource_type, resource_id, conditions)
            return
        current = await self._bare(resource_id)
        self.service.check_deletion(current, conditions)
        await self.storage.delete(resource_type, resource_id)

    async def _bare(self, group_id: str) -> Group:
        (group,) = groups.bare([await groups.find(self._work, group_id, lock=True)])
        return group


async def _read(request: ScimRequest, read: Callable[[bytes, str | None], Result]) -> Result:
    return await read_in_thread(request.body, lambda: read(request.body, request.header("Content-Type")))
