"""SCIM groups of a provider.

PATCH of a group costs as much as it changes: changing one member of many thousands changes one row. Operations on
members are applied to rows; ``scim2_models`` applies all others to the group without its members.

In responses for large groups, ``scim2-server`` only processes the first member, and the others are copied from it.
Processing fifty thousand members one by one would block the worker for ten seconds.
"""

from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from uuid import UUID

import scim2_models as scim
from pydantic import TypeAdapter, ValidationError
from scim2_models import path as nodes
from scim2_server.responses import ScimResponse
from scim2_server.service import ScimService
from scim2_server.storage import SearchPage
from sqlalchemy import Row, select

from app.adapters.scim import columns
from app.adapters.scim.columns import MEMBERS, USERS, name_column
from app.adapters.scim.filters import value_condition
from app.adapters.scim.models import Group, GroupMember
from app.adapters.scim.work import Work
from app.db.rows import is_one_of
from app.features.groups import provision, service
from app.features.groups.queries import find_provided
from app.features.groups.schemas import ExternalId
from app.http.schemas import Name
from app.lib.event_loop import in_slices
from app.lib.ids import EVENT, GROUP, IDENTITY, format_id, parse_id
from app.models import identities as models

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_EXTERNAL_ID: TypeAdapter[str] = TypeAdapter(ExternalId)


async def create(work: Work, resource: Group) -> Group:
    """Create a group. Raises ``InvalidValueException`` and domain errors."""
    name, external_id = read_names(resource)
    row, event = await provision.create_provided(work.change, work.provider_id, name, external_id)
    _note_effects(work, row, event)
    members = read_members(resource.members or [])
    if members:
        change = await provision.change_members(work.change, work.provider_id, row, add=members)
        _note_effects(work, row, *change.events)
    (group,) = await present(work, [row])
    return group


async def update(work: Work, resource: Group, expected_version: str | None) -> Group:
    """Replace a group's state. Raises ``NotFoundException`` and the errors of ``create``."""
    row = await find(work, str(resource.id), lock=True)
    check_version(row, expected_version)
    await rename(work, row, resource)
    members = read_members(resource.members or [])
    change = await provision.set_members(work.change, work.provider_id, row, members)
    _note_effects(work, row, *change.events)
    (group,) = await present(work, [row])
    return group


async def delete(work: Work, group_id: str, expected_version: str | None) -> None:
    """Delete a group with its grants and pending decisions. Raises ``NotFoundException``."""
    row = await find(work, group_id, lock=True)
    check_version(row, expected_version)
    await service.end_locked_group(work.change, row)
    _note_effects(work, row)


async def find(work: Work, group_id: str, *, lock: bool) -> models.Group:
    """Find the row of a provider's group. Raises ``NotFoundException``."""
    row = None
    id = _id(GROUP, group_id)
    if id is not None:
        row = await find_provided(work.session, work.provider_id, id, lock=lock)
    if row is None:
        raise scim.NotFoundException(detail="There is no such group.")
    return row


async def rename(work: Work, row: models.Group, wanted: Group) -> None:
    """Set the name and external id of a locked group."""
    name, external_id = read_names(wanted)
    event = await provision.change_provided(work.change, row, name, external_id)
    if event is not None:
        _note_effects(work, row, event)


async def present(
    work: Work, rows: Sequence[models.Group], shown: scim.ResponseParameters[Any] | None = None
) -> list[Group]:
    """Present groups as SCIM resources; their members only if ``shown`` includes them."""
    members: dict[UUID, list[GroupMember]] = {}
    if shown is None or shows_members(shown):
        members = await _members(work, [row.id for row in rows])
    return [present_row(row, members.get(row.id)) for row in rows]


def shows_members(shown: scim.ResponseParameters[Any]) -> bool:
    """Whether a response with these parameters includes the members of groups."""
    paths: Any = scim.Path[Group].iter_paths(
        include_subattributes=False,
        attributes=shown.attributes or [],
        excluded_attributes=shown.excluded_attributes or [],
    )
    return any(str(path) == "members" for path in paths)


def read_names(resource: Group) -> tuple[str, str | None]:
    """The validated name and external id. Raises ``InvalidValueException``."""
    try:
        name = _NAME.validate_python(resource.display_name)
        sent = resource.external_id
        external_id = None if sent is None else _EXTERNAL_ID.validate_python(sent)
    except ValidationError:
        raise scim.InvalidValueException(
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
        raise scim.PreconditionFailedException


def _member_id(value: object) -> UUID:
    if isinstance(value, GroupMember):
        text: object = value.value
    elif isinstance(value, dict):
        text = next((item for key, item in value.items() if str(key).lower() == "value"), None)
    else:
        text = None
    for id in parse_ids(text):
        return id
    raise scim.InvalidValueException(
        detail="A member must be an object whose value is the id of a user, as this service returned it. Nested groups "
        "are not supported."
    )


def _id(prefix: str, text: str) -> UUID | None:
    try:
        return parse_id(prefix, text)
    except ValueError:
        return None


async def _members(work: Work, group_ids: Sequence[UUID]) -> dict[UUID, list[GroupMember]]:
    query = (
        select(MEMBERS.c.group_id, MEMBERS.c.identity_id, name_column(USERS))
        .join(USERS, USERS.c.identity_id == MEMBERS.c.identity_id)
        .where(
            is_one_of(MEMBERS.c.group_id, group_ids),
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
    members: dict[UUID, list[GroupMember]] = defaultdict(list)
    for group_id, identity_id, name in rows:
        id = format_id(IDENTITY, identity_id)
        # Not validated again, since it was validated when it was written.
        ref: scim.Reference[Any] = scim.Reference(f"Users/{id}")
        members[group_id].append(GroupMember.model_construct(value=id, ref=ref, type="User", display=name))
        yield
    return members


def present_row(row: models.Group, members: list[GroupMember] | None = None) -> Group:
    """Present a group with these members, by default without any."""
    meta = scim.Meta(
        resource_type="Group", created=row.created_at, last_modified=row.updated_at, version=_version(row)
    )
    shown = Group(id=format_id(GROUP, row.id), external_id=row.external_id, display_name=row.name, meta=meta)
    # Avoids assignment, which would validate each member.
    return shown.model_copy(update={"members": members})


def _version(row: models.Group) -> str:
    return f'W/"{row.revision}"'


def _note_effects(work: Work, row: models.Group, *events: UUID) -> None:
    work.effects.extend([format_id(GROUP, row.id), *(format_id(EVENT, event) for event in events)])


_MEMBERS = nodes.AttrPath("members")
_OP = scim.PatchOperation.Op


@dataclass(slots=True)
class Edit:
    """A change of members by consecutive operations, whose result does not depend on the current members.

    ``replace_all`` first removes all members. ``chosen`` is a filter that selects members to remove by other attributes
    than the id; then the edit has nothing else.
    """

    replace_all: bool = False
    add: set[UUID] = field(default_factory=set)
    remove: set[UUID] = field(default_factory=set)
    chosen: nodes.FilterNode | None = None

    def extend(self, later: "Edit") -> None:
        """Append a later edit."""
        if later.replace_all:
            self.replace_all, self.add, self.remove = True, set(), set()
        self.add = (self.add - later.remove) | later.add
        self.remove = (self.remove | later.remove) - later.add


def split(patch: "scim.PatchOp[Any]") -> tuple["scim.PatchOp[Any]", list[Edit]]:
    """Split a PATCH into the edits of members and all other operations.

    Raises ``InvalidValueException`` and ``MutabilityException``.
    """
    rest: list[scim.PatchOperation[Any]] = []
    edits: list[Edit] = []
    for operation in patch.operations or []:
        path: scim.Path[Any] = scim.Path[Group](operation.path or "")
        if path.model is not None:
            whole, of_members = _split_value(operation)
            if whole is not None:
                rest.append(whole)
        elif (bound := path.resolve()) is not None and bound.field_name == "members":
            of_members = [_edit(operation, path)]
        else:
            rest.append(operation)
            continue
        for edit in of_members:
            if edits and edits[-1].chosen is None and edit.chosen is None:
                edits[-1].extend(edit)
            else:
                edits.append(edit)
    return patch.model_copy(update={"operations": rest}), edits


async def apply_edits(work: Work, row: models.Group, edits: list[Edit]) -> None:
    """Apply edits of the members of a locked group in order."""
    for edit in edits:
        remove = edit.remove if edit.chosen is None else await _choose(work, row, edit.chosen)
        if edit.replace_all:
            change = await provision.set_members(work.change, work.provider_id, row, edit.add)
        elif edit.add or remove:
            provider_id, add = work.provider_id, edit.add
            change = await provision.change_members(work.change, provider_id, row, add=add, remove=remove)
        else:
            continue
        _note_effects(work, row, *change.events)


async def _choose(work: Work, row: models.Group, chosen: nodes.FilterNode) -> set[UUID]:
    """The members that a filter selects. Its result depends on the previous edits."""
    source = columns.groups(work.provider_id, Group)
    many, condition = value_condition(source, nodes.ValuePath(_MEMBERS, chosen))
    query = select(many.order[0]).select_from(columns.GROUPS.join(many.rows, many.where))
    chosen_ids = await work.session.scalars(query.where(columns.GROUPS.c.id == row.id, condition))
    return set(chosen_ids)


def _split_value(operation: scim.PatchOperation[Any]) -> tuple[scim.PatchOperation[Any] | None, list[Edit]]:
    """Split an operation on the whole group into the members and the rest, if any."""
    if not isinstance(operation.value, dict):
        return operation, []
    rest, edits = {}, []
    for key, value in operation.value.items():
        prefix, _, name = key.lower().rpartition(":")
        if name == "members" and prefix in {"", str(Group.__schema__).lower()}:
            edits.append(_edit_value(operation.op, value))
        else:
            rest[key] = value
    return (operation.model_copy(update={"value": rest}) if rest else None), edits


def _edit(operation: scim.PatchOperation[Any], path: scim.Path[Any]) -> Edit:
    """The edit of an operation on ``members``."""
    if len(path.parts) > 1 or (path.value_filter is not None and operation.op is not _OP.remove):
        raise scim.MutabilityException(
            attribute="members",
            detail="Members can only be added and removed as a whole. Their attributes belong to the users",
        )
    if path.value_filter is not None:
        named = _ids_of(path.value_filter)
        return Edit(chosen=path.value_filter) if named is None else Edit(remove=named)
    return _edit_value(operation.op, operation.value)


def _edit_value(op: scim.PatchOperation.Op, value: Any) -> Edit:
    if op is _OP.remove and value is None:
        return Edit(replace_all=True)
    entries = [] if value is None else [value] if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise scim.InvalidValueException(detail="The value of members must be a list of objects")
    ids = read_members(entries)
    if op is _OP.remove:
        return Edit(remove=ids)
    return Edit(replace_all=op is _OP.replace_, add=ids)


def _ids_of(chosen: nodes.FilterNode) -> set[UUID] | None:
    """The members that a filter names by id; None for any other filter."""
    terms = (
        chosen.terms
        if isinstance(chosen, nodes.LogicalExpr) and chosen.op is nodes.LogicalOperator.or_
        else (chosen,)
    )
    named = set()
    for term in terms:
        if not isinstance(term, nodes.Comparison) or term.op is not nodes.CompareOperator.eq:
            return None
        if term.attr_path.attr.lower() != "value" or term.attr_path.sub_attr or term.attr_path.uri:
            return None
        named |= parse_ids(term.value)
    return named


class LargeGroups(ScimService):
    """Presents a group by processing only its first member."""

    def publish(self, base_url: str, resource: scim.Resource[Any]) -> scim.Resource[Any]:
        """Publish a resource; of a group only its first member."""
        published = super().publish(base_url, _sample(resource))
        if isinstance(resource, Group) and isinstance(published, Group) and published.members:
            # Avoids assignment, which would validate each member.
            members = [*published.members, *(resource.members or [])[1:]]
            return published.model_copy(update={"members": members})
        return published

    @staticmethod
    def resource_response(
        resource: scim.Resource[Any],
        scim_ctx: scim.Context,
        response_parameters: scim.ResponseParameters[Any] | None = None,
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
        resource_types: list[scim.ResourceType],
        page: SearchPage,
        search_request: scim.SearchRequest[Any],
    ) -> ScimResponse:
        """Build the response with a page of results."""
        samples = replace(page, resources=[_sample(resource) for resource in page.resources])
        response = super().search_response(base_url, resource_types, samples, search_request)
        listed: list[dict[str, Any]] = (response.body or {}).get("Resources", [])
        for body, resource in zip(listed, page.resources, strict=False):
            _complete(body, resource)
        return response


def _sample(resource: scim.Resource[Any]) -> scim.Resource[Any]:
    """A group reduced to its first member; other resources unchanged."""
    if not isinstance(resource, Group) or len(resource.members or []) < 2:
        return resource
    return resource.model_copy(update={"members": (resource.members or [])[:1]})


def _complete(body: dict[str, Any] | None, resource: scim.Resource[Any]) -> None:
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
