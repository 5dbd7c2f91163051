"""The SCIM protocol as we speak it, over ``scim2-server``: who may do what, and how our errors are told.

What the audit trail says of SCIM requests: which, on what, how it ended, and what it changed. Nobody's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from uuid import UUID

from scim2_models import (
    Context,
    Error,
    ForbiddenException,
    InvalidValueException,
    PatchOp,
    PatchOperation,
    Resource,
    ResourceType,
    ResponseParameters,
    SCIMException,
    SearchRequest,
)
from scim2_server.conditions import Conditions
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import Operation, Target, match
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.scim.filters import check_length
from app.adapters.scim.groups import LargeGroups
from app.adapters.scim.models import DirectoryUser, User, make_provider
from app.adapters.scim.work import error_of
from app.domain.errors import DomainError, Unavailable
from app.features.audit.record import record
from app.http.authorization import Caller, Permission
from app.lib.ids import GROUP, IDENTITY, parse_id

_LONGEST_TAGS = 1_000
_READS = frozenset({Operation.query, Operation.search, Operation.search_with_body})
_NEEDED = {
    "User": (Permission.IDENTITIES_READ, Permission.IDENTITIES_WRITE),
    "Group": (Permission.GROUPS_READ, Permission.GROUPS_WRITE),
}


class Service(LargeGroups):
    """Validates, applies and answers; the subject of a request is its ``Caller``."""

    @property
    def etag_supported(self) -> bool:
        """Always, for whoever uses entity tags.

        The configuration says no all the same. A client that is told of them may send a tag of its own making as
        ``If-Match`` (Canaille does, with its own of the person), and would be refused each change for ever: a leaver
        would never be deactivated. Who is not told sends none, and who sends ours is heard.
        """
        return True

    def service_provider_config(self, location: str, query: Mapping[str, str]) -> ScimResponse:
        """What is announced, without ``pagination`` (RFC 9865 section 4), which came after RFC 7643.

        Clients of before that (scim2-models up to 0.7, which Canaille speaks) refuse a configuration that has a member
        more than they know, and provision nobody. Whoever asks with a cursor is served.
        """
        response = super().service_provider_config(location, query)
        (response.body or {}).pop("pagination", None)
        return response

    def authorize(self, request: ScimRequest, target: Target, resource_type: ResourceType) -> None:
        """Raise ``ForbiddenException`` for what the role of the caller does not give."""
        caller: Caller = request.subject
        read, write = _NEEDED[str(resource_type.name)]
        needed = {read if target.operation in _READS else write}
        if target.operation is Operation.delete and resource_type.name == "User":
            needed.add(Permission.IDENTITIES_OFFBOARD)
        for permission in sorted(needed):
            if not caller.may(permission):
                raise ForbiddenException(
                    detail=f"This needs the permission {permission.value}, which {caller.lacking}."
                )

    def read_search(self, resource_types: list[ResourceType], payload: Any) -> tuple[SearchRequest[Any], Any]:
        """A search that is fit to be parsed. Raises ``InvalidFilterException``."""
        check_length(payload)
        return super().read_search(resource_types, payload)

    def check_preconditions(self, resource: Resource[Any], method: str, conditions: Conditions) -> bool:
        """Whether a resource is to be shown. Raises ``PreconditionFailedException``, and ``InvalidValueException`` for
        a text that is no list of entity tags: its reading costs with the square of its length, and a version in a bulk
        request may be as long as the body."""
        if any(len(tags or "") > _LONGEST_TAGS for tags in (conditions.if_match, conditions.if_none_match)):
            raise InvalidValueException(detail=f"Entity tags have at most {_LONGEST_TAGS} characters.")
        return super().check_preconditions(resource, method, conditions)

    def apply_replacement(
        self, current: Resource[Any], replacement: Resource[Any], conditions: Conditions
    ) -> Resource[Any] | None:
        """The state that a PUT wants, always: whether it changes anything the storage knows."""
        super().apply_replacement(current, replacement, conditions)
        return replacement

    def apply_patch(
        self, current: Resource[Any], patch_op: "PatchOp[Any]", conditions: Conditions
    ) -> Resource[Any] | None:
        """The state that a PATCH wants. ``active`` of a user is None in it unless the PATCH gives it a value: nobody's
        status changes by the way, or by its removal, which hides it until it has a value again."""
        if not isinstance(current, User):
            super().apply_patch(current, patch_op, conditions)
            return current
        current.active = None
        super().apply_patch(current, patch_op, conditions)
        removed = current._active_removed or any(map(_removes_active, patch_op.operations or []))  # noqa: SLF001
        current._active_removed = removed and current.active is None  # noqa: SLF001
        return current

    def patch_response(
        self, base_url: str, resource: Resource[Any], response_parameters: ResponseParameters[Any]
    ) -> ScimResponse:
        """Of a user the whole, so that a directory sees what became of it; of a group, which may be large, 204."""
        if isinstance(resource, DirectoryUser):
            shown = self.publish(base_url, resource)
            context = Context.RESOURCE_REPLACEMENT_RESPONSE
            return self.resource_response(shown, context, response_parameters)
        return super().patch_response(base_url, resource, response_parameters)

    @staticmethod
    def error_of(exception: Exception) -> Error:
        """Our errors too. A fault, which is nobody's mistake, goes on up: the whole request is run again or fails."""
        if isinstance(exception, SCIMException | DomainError) and not isinstance(exception, Unavailable):
            return error_of(exception)
        raise exception

    def www_authenticate(self, exception: SCIMException) -> str | None:
        """As everywhere else here."""
        return 'Bearer realm="scopegate"'


def _removes_active(operation: "PatchOperation[Any]") -> bool:
    path = str(operation.path or "").rpartition(":")[2]
    return operation.op == PatchOperation.Op.remove and path.casefold() == "active"


@lru_cache(maxsize=4)
def make_service(secret: bytes) -> Service:
    """The service of a process; ``secret`` seals its cursors, and every replica has the same."""
    return Service(make_provider(), secret=secret)


def is_success(response: ScimResponse) -> bool:
    """Whether the request was carried out."""
    return response.status < HTTPStatus.BAD_REQUEST


ACTION = "scim.request"
_KINDS = {"users": ("identity", IDENTITY), "groups": ("group", GROUP)}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, in words that hold nothing of what was sent."""

    method: str
    resource: str
    object_type: str | None
    object_id: UUID | None

    @classmethod
    def of(cls, request: ScimRequest, made: object = None) -> "Asked":
        """Read it from a request; ``made`` is the id of what a request made."""
        try:
            target = match(request.method.upper(), request.path)
        except SCIMException:
            return cls(request.method.upper()[:10], "unknown", None, None)
        kind, prefix = _KINDS.get((target.endpoint or "").casefold(), (None, ""))
        id = _id(prefix, made or target.resource_id) if kind else None
        return cls(request.method.upper(), _resource(target), kind if id else None, id)


def _resource(target: Target) -> str:
    """The endpoint and the operation: a path could hold anything."""
    known = (target.endpoint or "").casefold() in _KINDS
    endpoint = str(target.endpoint).capitalize() if known else ("unknown" if target.endpoint else "")
    return f"{endpoint}.{target.operation.value}".lstrip(".")


def _id(prefix: str, text: object) -> UUID | None:
    try:
        return parse_id(prefix, str(text))
    except ValueError:
        return None


async def note(
    session: AsyncSession,
    caller: Caller,
    provider_id: UUID | None,
    asked: Asked,
    status: int,
    effects: list[str],
    request_id: str | None,
) -> None:
    """Record one request in the transaction of ``session``."""
    changes = {
        "method": asked.method,
        "resource": asked.resource,
        "status": status,
        "effects": sorted(set(effects)),
    }
    outcome = "success" if status < 400 else "denied" if status in {401, 403} else "error"
    object_type = asked.object_type or "identity_provider"
    object_id = asked.object_id or provider_id
    await record(
        session,
        caller,
        ACTION,
        object_type,
        object_id,
        changes=changes,
        request_id=request_id,
        outcome=outcome,
    )
