"""The SCIM protocol on top of ``scim2-server``: permissions, errors, audit events of requests, and their processing.

An audit event names the operation, its object, the outcome and the changed ids, but no personal data. Large groups are
changed without reading all members, and large bodies are parsed in a thread.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, TypeVar, cast
from uuid import UUID

import scim2_models as scim
from scim2_server.conditions import Conditions
from scim2_server.handler import AsyncScimHandler
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import Operation, Target, match
from scim2_server.service import ScimService
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.scim import groups
from app.adapters.scim.filters import check_length
from app.adapters.scim.groups import LargeGroups
from app.adapters.scim.models import DirectoryUser, Group, User, make_provider
from app.adapters.scim.storage import Storage
from app.adapters.scim.work import Work, error_of, read_in_thread
from app.db.change import write
from app.domain.errors import DomainError, Unavailable
from app.features.audit.record import record
from app.http.authorization import Caller, Permission
from app.lib.ids import GROUP, IDENTITY, parse_id

_MAX_TAGS_LENGTH = 1_000
_READS = frozenset({Operation.query, Operation.search, Operation.search_with_body})
_REQUIRED_PERMISSIONS = {
    "User": (Permission.IDENTITIES_READ, Permission.IDENTITIES_WRITE),
    "Group": (Permission.GROUPS_READ, Permission.GROUPS_WRITE),
}


class Service(LargeGroups):
    """Validates and applies requests; the subject of a request is its ``Caller``."""

    @property
    def etag_supported(self) -> bool:
        """Entity tags are always supported.

        They are not announced: Canaille would send a tag of its own making as ``If-Match``, so that every change of it
        would be refused and a leaver would never be deactivated. Clients send no tags without the announcement, and
        tags of this service are honored.
        """
        return True

    def service_provider_config(self, location: str, query: Mapping[str, str]) -> ScimResponse:
        """The configuration without ``pagination`` (RFC 9865 section 4), which is younger than RFC 7643.

        Older clients (scim2-models up to 0.7, which Canaille uses) refuse a configuration with an unknown member.
        Requests with a cursor are served nevertheless.
        """
        response = super().service_provider_config(location, query)
        (response.body or {}).pop("pagination", None)
        return response

    def authorize(self, request: ScimRequest, target: Target, resource_type: scim.ResourceType) -> None:
        """Raise ``ForbiddenException`` if the caller lacks a permission."""
        caller: Caller = request.subject
        read, write = _REQUIRED_PERMISSIONS[str(resource_type.name)]
        needed = {read if target.operation in _READS else write}
        if target.operation is Operation.delete and resource_type.name == "User":
            needed.add(Permission.IDENTITIES_OFFBOARD)
        for permission in sorted(needed):
            if not caller.may(permission):
                raise scim.ForbiddenException(
                    detail=f"This requires the permission {permission.value}, which {caller.lacking}."
                )

    def read_search(
        self, resource_types: list[scim.ResourceType], payload: Any
    ) -> tuple[scim.SearchRequest[Any], Any]:
        """Check the size of a search and parse it. Raises ``InvalidFilterException``."""
        check_length(payload)
        return super().read_search(resource_types, payload)

    def check_preconditions(self, resource: scim.Resource[Any], method: str, conditions: Conditions) -> bool:
        """Whether a resource is returned. Raises ``PreconditionFailedException``.

        Raises ``InvalidValueException`` for long lists of entity tags, whose parsing costs quadratic time; a version
        in a bulk request could be as long as the body.
        """
        if any(
            len(tags or "") > _MAX_TAGS_LENGTH for tags in (conditions.if_match, conditions.if_none_match)
        ):
            raise scim.InvalidValueException(
                detail=f"Entity tags have at most {_MAX_TAGS_LENGTH} characters."
            )
        return super().check_preconditions(resource, method, conditions)

    def apply_replacement(
        self, current: scim.Resource[Any], replacement: scim.Resource[Any], conditions: Conditions
    ) -> scim.Resource[Any] | None:
        """Return the state of a PUT always; the storage detects whether it changes anything.

        The members of a group are compared by the database.
        """
        if not isinstance(replacement, Group):
            super().apply_replacement(current, replacement, conditions)
            return replacement
        bare = replacement.model_copy(update={"members": None})
        super().apply_replacement(current, bare, conditions)
        return bare.model_copy(update={"members": replacement.members})

    def apply_patch(
        self, current: scim.Resource[Any], patch_op: "scim.PatchOp[Any]", conditions: Conditions
    ) -> scim.Resource[Any] | None:
        """Return the state after a PATCH.

        ``active`` of a user is None unless the PATCH sets it, so that other changes keep the status. Removing it hides
        it until it is set again, without changing the status.
        """
        if not isinstance(current, User):
            super().apply_patch(current, patch_op, conditions)
            return current
        current.active = None
        super().apply_patch(current, patch_op, conditions)
        removed = current._active_removed or any(  # noqa: SLF001
            operation.op == scim.PatchOperation.Op.remove
            and str(operation.path or "").rpartition(":")[2].casefold() == "active"
            for operation in patch_op.operations or []
        )
        current._active_removed = removed and current.active is None  # noqa: SLF001
        return current

    def patch_response(
        self, base_url: str, resource: scim.Resource[Any], response_parameters: scim.ResponseParameters[Any]
    ) -> ScimResponse:
        """Return the whole user after a PATCH, so that directories see it; 204 for a group, which can be large."""
        if isinstance(resource, DirectoryUser):
            shown = self.publish(base_url, resource)
            context = scim.Context.RESOURCE_REPLACEMENT_RESPONSE
            return self.resource_response(shown, context, response_parameters)
        return super().patch_response(base_url, resource, response_parameters)

    @staticmethod
    def error_of(exception: Exception) -> scim.Error:
        """Map domain errors too. Unexpected errors are raised again, to retry the transaction or fail the request."""
        if isinstance(exception, scim.SCIMException | DomainError) and not isinstance(exception, Unavailable):
            return error_of(exception)
        raise exception

    def www_authenticate(self, exception: scim.SCIMException) -> str | None:
        """The same challenge as in the API."""
        return 'Bearer realm="scopegate"'


@lru_cache(maxsize=4)
def make_service(secret: bytes) -> Service:
    """Build the service of a process; ``secret`` seals its cursors and is the same on every replica."""
    return Service(make_provider(), secret=secret)


_KINDS = {"users": ("identity", IDENTITY), "groups": ("group", GROUP)}


async def record_request(
    session: AsyncSession,
    caller: Caller,
    provider_id: UUID | None,
    request: ScimRequest,
    status: int,
    request_id: str | None,
    *,
    effects: Iterable[str] = (),
    made: object = None,
) -> None:
    """Record a request without any data that was sent. ``made`` is the id of the created resource."""
    method, resource = request.method.upper()[:10], "unknown"
    object_type, object_id = "identity_provider", provider_id
    with suppress(scim.SCIMException, ValueError):
        target = match(method, request.path)
        kind, prefix = _KINDS.get((target.endpoint or "").casefold(), ("", ""))
        # Not the path, which could contain personal data.
        endpoint = str(target.endpoint).capitalize() if kind else "unknown" if target.endpoint else ""
        resource = f"{endpoint}.{target.operation.value}".lstrip(".")
        if kind:
            object_type, object_id = kind, parse_id(prefix, str(made or target.resource_id))
    # The log lists the effects before their request.
    await write(session)
    await record(
        session,
        caller,
        "scim.request",
        object_type,
        object_id,
        changes={"method": method, "resource": resource, "status": status, "effects": sorted(set(effects))},
        request_id=request_id,
        outcome="success" if status < 400 else "denied" if status in {401, 403} else "error",
    )


_GROUP = "Group"
Result = TypeVar("Result")


class Handler(AsyncScimHandler):
    """Handles one request."""

    def __init__(self, service: ScimService, work: Work) -> None:
        super().__init__(service, Storage(work, bare_groups=True))
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
                current = await self.storage.get(resource_type, str(target.resource_id))
                conditions = self.service.read_conditions(request)
                resource = await self.replace_resource(resource_type, current, replacement, conditions)
            return self.service.replacement_response(request.base_url, resource, shown)

    async def patch_resource(
        self,
        resource_type: scim.ResourceType,
        resource_id: str,
        patch_op: "scim.PatchOp[Any]",
        conditions: Conditions,
    ) -> scim.Resource[Any]:
        """Apply a PATCH. For a group, only the rows of the affected members are read."""
        if resource_type.name != _GROUP:
            return await super().patch_resource(resource_type, resource_id, patch_op, conditions)
        rest, edits = groups.split(patch_op)
        row = await groups.find(self._work, resource_id, lock=True)
        wanted = groups.present_row(row)
        patched = self.service.apply_patch(wanted, rest, conditions)
        await groups.rename(self._work, row, cast("Group", patched or wanted))
        await groups.apply_edits(self._work, row, edits)
        if not {"attributes", "excludedAttributes"} & self._query.keys():
            return groups.present_row(row)
        shown = self.service.read_response_parameters(resource_type, self._query)
        return (await groups.present(self._work, [row], shown))[0]


async def _read(request: ScimRequest, read: Callable[[bytes, str | None], Result]) -> Result:
    return await read_in_thread(request.body, lambda: read(request.body, request.header("Content-Type")))
