"""SCIM groups of a provider.

In responses for large groups, ``scim2-server`` only processes the first member, and the others are copied from it.
Processing fifty thousand members one by one would block the worker for ten seconds.
"""

from collections import defaultdict
from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from scim2_models import (
    Context,
    InvalidValueException,
    Meta,
    NotFoundException,
    Path,
    PreconditionFailedException,
    Reference,
    Resource,
    ResourceType,
    ResponseParameters,
    SearchRequest,
)
from scim2_server.responses import ScimResponse
from scim2_server.service import ScimService
from scim2_server.storage import SearchPage
from sqlalchemy import ARRAY, Row, Uuid, any_, func, literal, select

from app.adapters.scim.columns import MEMBERS, USERS, name_column
from app.adapters.scim.models import Group, GroupMember
from app.adapters.scim.work import Work
from app.db.change import Change
from app.features.groups import provision, service
from app.features.groups.queries import find_provided
from app.features.groups.schemas import ExternalId
from app.http.schemas import Name
from app.lib.event_loop import in_slices
from app.lib.ids import EVENT, GROUP, IDENTITY, format_id, parse_id
from app.models import identities as models

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_EXTERNAL_ID: TypeAdapter[str] = TypeAdapter(ExternalId)


async def get(
    work: Work, group_id: str, *, lock: bool, shown: ResponseParameters[Any] | None = None
) -> Group:
    """Read a group, without members if ``shown`` excludes them. Raises ``NotFoundException``."""
    row = await find(work, group_id, lock=lock)
    (group,) = await present(work, [row], shown)
    return group


async def create(work: Work, resource: Group) -> Group:
    """Create a group. Raises ``InvalidValueException`` and domain errors."""
    name, external_id = read_names(resource)
    row, event = await provision.create_provided(work.session, _directory(work), name, external_id)
    _note_effects(work, row, event)
    members = read_members(resource.members or [])
    if members:
        change = await provision.change_members(work.session, _directory(work), row, add=members)
        _note_effects(work, row, *change.events)
    (group,) = await present(work, [row])
    return group


async def update(work: Work, resource: Group, expected_version: str | None) -> Group:
    """Replace a group's state. Raises ``NotFoundException`` and the errors of ``create``."""
    row = await find(work, str(resource.id), lock=True)
    check_version(row, expected_version)
    await rename(work, row, resource)
    members = read_members(resource.members or [])
    change = await provision.set_members(work.session, _directory(work), row, members)
    _note_effects(work, row, *change.events)
    (group,) = await present(work, [row])
    return group


async def delete(work: Work, group_id: str, expected_version: str | None) -> None:
    """Delete a group with its grants and pending decisions. Raises ``NotFoundException``."""
    row = await find(work, group_id, lock=True)
    check_version(row, expected_version)
    change = Change(work.session, work.caller, work.request_id, work.clock())
    await service.end_locked_group(change, row)
    _note_effects(work, row)


async def find(work: Work, group_id: str, *, lock: bool) -> models.Group:
    """Find the row of a provider's group. Raises ``NotFoundException``."""
    row = None
    id = _id(GROUP, group_id)
    if id is not None:
        row = await find_provided(work.session, work.provider_id, id, lock=lock)
    if row is None:
        raise NotFoundException(detail="There is no such group.")
    return row


async def rename(work: Work, row: models.Group, wanted: Group) -> None:
    """Set the name and external id of a locked group."""
    name, external_id = read_names(wanted)
    event = await provision.change_provided(work.session, _directory(work), row, name, external_id)
    if event is not None:
        _note_effects(work, row, event)


async def change_members(
    work: Work, row: models.Group, *, replace_all: bool, add: Collection[UUID], remove: Collection[UUID]
) -> None:
    """Add and remove members of a locked group; ``replace_all`` first removes all members."""
    directory = _directory(work)
    if replace_all:
        change = await provision.set_members(work.session, directory, row, add)
    else:
        change = await provision.change_members(work.session, directory, row, add=add, remove=remove)
    _note_effects(work, row, *change.events)


async def present(
    work: Work, rows: Sequence[models.Group], shown: ResponseParameters[Any] | None = None
) -> list[Group]:
    """Present groups as SCIM resources; their members only if ``shown`` includes them."""
    members: dict[UUID, list[GroupMember]] = {}
    if shown is None or shows_members(shown):
        members = await _members(work, [row.id for row in rows])
    return [_present(row, members.get(row.id)) for row in rows]


def bare(rows: Iterable[models.Group]) -> list[Group]:
    """Present groups without their members."""
    return [_present(row, None) for row in rows]


def shows_members(shown: ResponseParameters[Any]) -> bool:
    """Whether a response with these parameters includes the members of groups."""
    paths: Any = Path[Group].iter_paths(
        include_subattributes=False,
        attributes=shown.attributes or [],
        excluded_attributes=shown.excluded_attributes or [],
    )
    return any(str(path) == "members" for path in paths)


async def count_members(work: Work, group_ids: Iterable[UUID]) -> dict[UUID, int]:
    """Estimate the number of members of each group; members that the directory does not see are counted too."""
    query = select(MEMBERS.c.group_id, func.count()).where(MEMBERS.c.group_id == any_(_array(group_ids)))
    rows = await work.session.execute(query.group_by(MEMBERS.c.group_id))
    return {row[0]: row[1] for row in rows}


def read_names(resource: Group) -> tuple[str, str | None]:
    """The validated name and external id. Raises ``InvalidValueException``."""
    try:
        name = _NAME.validate_python(resource.display_name)
        external_id = (
            None if resource.external_id is None else _EXTERNAL_ID.validate_python(resource.external_id)
        )
    except ValidationError:
        raise InvalidValueException(
            detail="displayName must have 1 to 200 characters and externalId 1 to 255, without NUL."
        ) from None
    return name, external_id


def read_members(values: Iterable[object]) -> set[UUID]:
    """The ids of members, each an object with a ``value``. Raises ``InvalidValueException``."""
    return {_member_id(value) for value in values}


def parse_ids(text: object) -> set[UUID]:
    """The id of a user in a text; empty if it is no user's id."""
    id = _id(IDENTITY, text) if isinstance(text, str) else None
    return set() if id is None else {id}


def check_version(row: models.Group, expected: str | None) -> None:
    """Raise ``PreconditionFailedException`` if the group has changed since this version."""
    if expected is not None and expected != _version(row):
        raise PreconditionFailedException


def _member_id(value: object) -> UUID:
    if isinstance(value, GroupMember):
        text: object = value.value
    elif isinstance(value, dict):
        text = next((item for key, item in value.items() if str(key).lower() == "value"), None)
    else:
        text = None
    for id in parse_ids(text):
        return id
    raise InvalidValueException(
        detail="A member must be an object whose value is the id of a user, as this service returned it. Nested groups "
        "are not supported."
    )


def _id(prefix: str, text: str) -> UUID | None:
    try:
        return parse_id(prefix, text)
    except ValueError:
        return None


async def _members(work: Work, group_ids: Iterable[UUID]) -> dict[UUID, list[GroupMember]]:
    query = (
        select(MEMBERS.c.group_id, MEMBERS.c.identity_id, name_column(USERS))
        .join(USERS, USERS.c.identity_id == MEMBERS.c.identity_id)
        .where(
            MEMBERS.c.group_id == any_(_array(group_ids)),
            USERS.c.provider_id == work.provider_id,
            USERS.c.deleted_at.is_(None),
        )
        .order_by(MEMBERS.c.group_id, MEMBERS.c.identity_id)
    )
    rows = (await work.session.execute(query)).all()
    return await in_slices(_present_members(rows))


def _present_members(
    rows: Iterable[Row[UUID, UUID, str]],
) -> Generator[None, None, dict[UUID, list[GroupMember]]]:
    found: dict[UUID, list[GroupMember]] = defaultdict(list)
    for group_id, identity_id, name in rows:
        id = format_id(IDENTITY, identity_id)
        # Not validated again, since it was validated when it was written.
        member = GroupMember.model_construct(
            value=id, ref=Reference(f"Users/{id}"), type="User", display=name
        )
        found[group_id].append(member)
        yield
    return found


def _array(ids: Iterable[UUID]) -> Any:
    return literal(list(ids), ARRAY(Uuid))


def _present(row: models.Group, members: list[GroupMember] | None) -> Group:
    meta = Meta(
        resource_type="Group", created=row.created_at, last_modified=row.updated_at, version=_version(row)
    )
    shown = Group(id=format_id(GROUP, row.id), external_id=row.external_id, display_name=row.name, meta=meta)
    # Avoids assignment, which would validate each member.
    return shown.model_copy(update={"members": members})


def _version(row: models.Group) -> str:
    return f'W/"{row.revision}"'


def _directory(work: Work) -> provision.Directory:
    return provision.Directory(work.caller, work.provider_id, work.request_id)


def _note_effects(work: Work, row: models.Group, *events: UUID) -> None:
    work.effects.extend([format_id(GROUP, row.id), *(format_id(EVENT, event) for event in events)])


class LargeGroups(ScimService):
    """Presents a group by processing only its first member."""

    def publish(self, base_url: str, resource: Resource[Any]) -> Resource[Any]:
        """Publish a resource; of a group only its first member."""
        published = super().publish(base_url, _sample(resource))
        if isinstance(resource, Group) and isinstance(published, Group) and published.members:
            # Avoids assignment, which would validate each member.
            members = [*published.members, *(resource.members or [])[1:]]
            return published.model_copy(update={"members": members})
        return published

    @staticmethod
    def resource_response(
        resource: Resource[Any],
        scim_ctx: Context,
        response_parameters: ResponseParameters[Any] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> ScimResponse:
        """Build the response with a published resource."""
        sample = _sample(resource)
        response = ScimService.resource_response(sample, scim_ctx, response_parameters, status)
        _complete(response.body, resource)
        return response

    def search_response(
        self,
        base_url: str,
        resource_types: list[ResourceType],
        page: SearchPage,
        search_request: SearchRequest[Any],
    ) -> ScimResponse:
        """Build the response with a page of results."""
        samples = replace(page, resources=[_sample(resource) for resource in page.resources])
        response = super().search_response(base_url, resource_types, samples, search_request)
        listed: list[dict[str, Any]] = (response.body or {}).get("Resources", [])
        for body, resource in zip(listed, page.resources, strict=False):
            _complete(body, resource)
        return response


def _sample(resource: Resource[Any]) -> Resource[Any]:
    """A group reduced to its first member; other resources unchanged."""
    if not isinstance(resource, Group) or len(resource.members or []) < 2:
        return resource
    return resource.model_copy(update={"members": (resource.members or [])[:1]})


def _complete(body: dict[str, Any] | None, resource: Resource[Any]) -> None:
    """Add a group's other members in the form of the first one, if it is included."""
    members: Sequence[GroupMember] = (resource.members or []) if isinstance(resource, Group) else []
    shown = (body or {}).get("members")
    if not shown or len(members) < 2:
        return
    first, value = shown[0], str(members[0].value)
    addresses = str(first.get("$ref", "")).removesuffix(value)
    for member in members[1:]:
        every = {
            "value": member.value,
            "$ref": f"{addresses}{member.value}",
            "type": member.type,
            "display": member.display,
        }
        shown.append({name: every[name] for name in first})
