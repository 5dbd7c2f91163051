"""SCIM groups of a provider: groups of ours that the provider keeps.

Answers with groups of many members, which are all of one shape: the first is shown by ``scim2-server``, and the rest
after it. Copied, checked and filtered one by one, fifty thousand would keep everybody waiting for ten seconds.
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

from app.adapters.scim.columns import MEMBERS, USERS, shown_name
from app.adapters.scim.models import Group, GroupMember
from app.adapters.scim.work import Work
from app.db.change import Change
from app.features.groups import provision, service
from app.features.groups.provision_queries import find_provided
from app.features.groups.schemas import ExternalId
from app.http.schemas import Name
from app.lib.event_loop import in_slices
from app.lib.ids import EVENT, GROUP, IDENTITY, format_id, parse_id
from app.models import groups as models

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_EXTERNAL_ID: TypeAdapter[str] = TypeAdapter(ExternalId)


async def get(
    work: Work, group_id: str, *, lock: bool, shown: ResponseParameters[Any] | None = None
) -> Group:
    """A group, without its members where ``shown`` does without them. Raises ``NotFoundException``."""
    row = await find(work, group_id, lock=lock)
    (group,) = await present(work, [row], shown)
    return group


async def create(work: Work, resource: Group) -> Group:
    """Make a group. Raises ``InvalidValueException`` and domain errors."""
    name, external_id = read_names(resource)
    row, event = await provision.create_provided(work.session, _directory(work), name, external_id)
    _tell(work, row, event)
    members = read_members(resource.members or [])
    if members:
        change = await provision.change_members(work.session, _directory(work), row, add=members)
        _tell(work, row, *change.events)
    (group,) = await present(work, [row])
    return group


async def update(work: Work, resource: Group, expected_version: str | None) -> Group:
    """Give a group this whole state. Raises ``NotFoundException`` and as ``create`` does."""
    row = await find(work, str(resource.id), lock=True)
    check_version(row, expected_version)
    await rename(work, row, resource)
    members = read_members(resource.members or [])
    change = await provision.set_members(work.session, _directory(work), row, members)
    _tell(work, row, *change.events)
    (group,) = await present(work, [row])
    return group


async def delete(work: Work, group_id: str, expected_version: str | None) -> None:
    """End a group, with what it was granted and what it was to decide. Raises ``NotFoundException``."""
    row = await find(work, group_id, lock=True)
    check_version(row, expected_version)
    change = Change(work.session, work.caller, work.request_id, work.clock())
    await service.end_locked_group(change, row)
    _tell(work, row)


async def find(work: Work, group_id: str, *, lock: bool) -> models.Group:
    """The row of a group that the provider keeps. Raises ``NotFoundException``."""
    row = None
    id = _id(GROUP, group_id)
    if id is not None:
        row = await find_provided(work.session, work.provider_id, id, lock=lock)
    if row is None:
        raise NotFoundException(detail="There is no such group.")
    return row


async def rename(work: Work, row: models.Group, wanted: Group) -> None:
    """Give a locked group the name and the external id of ``wanted``."""
    name, external_id = read_names(wanted)
    event = await provision.change_provided(work.session, _directory(work), row, name, external_id)
    if event is not None:
        _tell(work, row, event)


async def change_members(
    work: Work, row: models.Group, *, everybody: bool, add: Collection[UUID], remove: Collection[UUID]
) -> None:
    """Add members to a locked group and take others out; ``everybody`` first takes out who is in it."""
    directory = _directory(work)
    if everybody:
        change = await provision.set_members(work.session, directory, row, add)
    else:
        change = await provision.change_members(work.session, directory, row, add=add, remove=remove)
    _tell(work, row, *change.events)


async def present(
    work: Work, rows: Sequence[models.Group], shown: ResponseParameters[Any] | None = None
) -> list[Group]:
    """These groups as SCIM shows them; their members only where ``shown`` leaves them in."""
    members: dict[UUID, list[GroupMember]] = {}
    if shown is None or shows_members(shown):
        members = await _members(work, [row.id for row in rows])
    return [_present(row, members.get(row.id)) for row in rows]


def bare(rows: Iterable[models.Group]) -> list[Group]:
    """These groups without their members, for who only changes them."""
    return [_present(row, None) for row in rows]


def shows_members(shown: ResponseParameters[Any]) -> bool:
    """Whether an answer with these parameters has the members of groups."""
    paths: Any = Path[Group].iter_paths(
        include_subattributes=False,
        attributes=shown.attributes or [],
        excluded_attributes=shown.excluded_attributes or [],
    )
    return any(str(path) == "members" for path in paths)


async def count_members(work: Work, group_ids: Iterable[UUID]) -> dict[UUID, int]:
    """How many members each of these groups has, about: whom the directory does not see is counted too."""
    query = select(MEMBERS.c.group_id, func.count()).where(MEMBERS.c.group_id == any_(_array(group_ids)))
    rows = await work.session.execute(query.group_by(MEMBERS.c.group_id))
    return {row[0]: row[1] for row in rows}


def read_names(resource: Group) -> tuple[str, str | None]:
    """The name and external id that are wanted. Raises ``InvalidValueException``."""
    try:
        name = _NAME.validate_python(resource.display_name)
        external_id = (
            None if resource.external_id is None else _EXTERNAL_ID.validate_python(resource.external_id)
        )
    except ValidationError:
        raise InvalidValueException(
            detail="displayName has 1 to 200 characters and externalId 1 to 255, and no NUL among them."
        ) from None
    return name, external_id


def read_members(values: Iterable[object]) -> set[UUID]:
    """The ids of members, each said as an object with a ``value``. Raises ``InvalidValueException``."""
    return {_member_id(value) for value in values}


def known_ids(text: object) -> set[UUID]:
    """The id of the user that a text names; nothing for one that is nobody's."""
    id = _id(IDENTITY, text) if isinstance(text, str) else None
    return set() if id is None else {id}


def check_version(row: models.Group, expected: str | None) -> None:
    """Raise ``PreconditionFailedException`` when a group has changed since."""
    if expected is not None and expected != _version(row):
        raise PreconditionFailedException


def _member_id(value: object) -> UUID:
    if isinstance(value, GroupMember):
        text: object = value.value
    elif isinstance(value, dict):
        text = next((item for key, item in value.items() if str(key).lower() == "value"), None)
    else:
        text = None
    for id in known_ids(text):
        return id
    raise InvalidValueException(
        detail="A member is an object whose value is the id of a user, as it was given here; groups in groups are "
        "not kept."
    )


def _id(prefix: str, text: str) -> UUID | None:
    try:
        return parse_id(prefix, text)
    except ValueError:
        return None


async def _members(work: Work, group_ids: Iterable[UUID]) -> dict[UUID, list[GroupMember]]:
    query = (
        select(MEMBERS.c.group_id, MEMBERS.c.identity_id, shown_name(USERS))
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
        # Read from where it was checked when it was written: checking it again costs more than reading it.
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
    # Not assigned, which would check each of them.
    return shown.model_copy(update={"members": members})


def _version(row: models.Group) -> str:
    return f'W/"{row.revision}"'


def _directory(work: Work) -> provision.Directory:
    return provision.Directory(work.caller, work.provider_id, work.request_id)


def _tell(work: Work, row: models.Group, *events: UUID) -> None:
    work.effects.extend([format_id(GROUP, row.id), *(format_id(EVENT, event) for event in events)])


class LargeGroups(ScimService):
    """Publishes and shows a group by its first member."""

    def publish(self, base_url: str, resource: Resource[Any]) -> Resource[Any]:
        """A resource with its addresses; of a group, those of its first member."""
        published = super().publish(base_url, _sample(resource))
        if isinstance(resource, Group) and isinstance(published, Group) and published.members:
            # Not assigned, which would check each of them.
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
        """The answer with a published resource."""
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
        """The answer with a page of what was found."""
        samples = replace(page, resources=[_sample(resource) for resource in page.resources])
        response = super().search_response(base_url, resource_types, samples, search_request)
        listed: list[dict[str, Any]] = (response.body or {}).get("Resources", [])
        for body, resource in zip(listed, page.resources, strict=False):
            _complete(body, resource)
        return response


def _sample(resource: Resource[Any]) -> Resource[Any]:
    """A group with its first member alone; anything else as it is."""
    if not isinstance(resource, Group) or len(resource.members or []) < 2:
        return resource
    return resource.model_copy(update={"members": (resource.members or [])[:1]})


def _complete(body: dict[str, Any] | None, resource: Resource[Any]) -> None:
    """Show the other members of a group as its first one is shown, if it is."""
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
