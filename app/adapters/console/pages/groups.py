"""Groups: the list, one group with its members and grants, and the forms that change them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.display import link
from app.adapters.console.forms import Form, validate
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.grants import describe_access, ids_to_name
from app.adapters.console.pages.principals import PAGE_SIZE
from app.domain.errors import Forbidden, NotFound
from app.features.grants import service as grants
from app.features.grants.schemas import GrantQuery, GrantView
from app.features.groups import schemas, service
from app.features.groups.queries import members_among
from app.features.identities import service as identities
from app.features.identities.schemas import IdentityQuery
from app.http.authorization import Permission, authorize
from app.http.etags import Precondition
from app.lib.ids import IDENTITY, GroupId, format_id, parse_id
from app.models.identities import Identity

router = APIRouter(include_in_schema=False, route_class=PageRoute)
GROUPS = "/console/groups"
_FOUND = 8
_DONE = {
    "made": "The group was created. Add members, and grant it access.",
    "changed": "The changes are saved.",
    "added": "Member added. The group's grants apply to them immediately.",
    "removed": "Member removed. The group's grants no longer apply to them.",
    "ended": "The group was deleted with its grants and memberships.",
}
_FIELDS = ("name", "description", "external_id")
Reader = Annotated[PageContext, may_open(Permission.GROUPS_READ)]
Writer = Annotated[PageContext, may_open(Permission.GROUPS_WRITE)]
Written = Annotated[Submission, may_submit(Permission.GROUPS_WRITE)]


@router.get(GROUPS, operation_id="page_list_groups")
async def show_groups(context: Reader) -> Response:
    """List groups, newest first."""
    query = context.query(schemas.GroupQuery, limit=PAGE_SIZE, include=None)
    found = schemas.GroupView.page(
        *await service.list_groups(context.session, context.caller, query, context.runtime)
    )
    return context.page(
        "groups/list.html",
        items=found.items,
        query=query,
        names=await context.names([*(one.owner_group_id for one in found.items), *query.member_id]),
        done=_DONE,
        **context.pager(found.next_cursor),
    )


@router.get(f"{GROUPS}/new", operation_id="page_new_group")
async def show_new(context: Writer) -> Response:
    """Show the form for a new group."""
    return _show_form(context, None)


@router.post(f"{GROUPS}/new", operation_id="page_create_group")
async def create(sent: Written) -> Response:
    """Create an empty group."""
    async with sent.attempt():
        made = await service.create_group(sent.change, validate(schemas.GroupCreate, _values_of(sent.form)))
    if sent.problems:
        return _show_form(sent, None)
    return redirect(f"{link('group', made.id)}?done=made")


@router.get(GROUPS + "/{group_id}", operation_id="page_show_group")
async def show_group(group_id: GroupId, context: Reader) -> Response:
    """Show a group: its members or its grants."""
    return await _show(context, group_id)


async def _show(context: PageContext, group_id: UUID) -> Response:
    """Show the page of a group, with errors of a change of its members."""
    it = await _read(context, group_id)
    tab = "members" if context.problems else context.param("tab", "members")
    if tab == "grants":
        authorize(context.caller, Permission.GRANTS_READ)
        read = await _grants(context, it)
    elif tab == "members":
        read = await _members(context, it)
    else:
        raise NotFound("There is no such page.")
    may_change = context.may(Permission.GROUPS_WRITE) and await _may_change_members(context, it.id)
    return context.page(
        "groups/one.html",
        it=it,
        tab=tab,
        owner=await context.name(it.owner_group_id),
        may_change=may_change,
        removed=await _removed(context, it.id) if may_change and tab == "members" else None,
        done=_DONE,
        **read,
    )


async def _may_change_members(context: PageContext, group_id: UUID) -> bool:
    group = await service.get_group(context.session, context.caller, group_id)
    try:
        await service.check_may_change_members(context.session, context.caller, group)
    except Forbidden:
        return False
    return True


async def _removed(context: PageContext, group_id: UUID) -> Identity | None:
    """The member who was just removed, to be added back by one click."""
    try:
        id = parse_id(IDENTITY, context.param("removed"))
    except ValueError:
        return None
    identity = await context.session.get(Identity, id)
    if identity is None or identity.status == "offboarded":
        return None
    return None if await members_among(context.session, group_id, [id]) else identity


async def _members(context: PageContext, it: schemas.GroupView) -> dict[str, Any]:
    """A page of members, and the search results with whether each is a member."""
    session, query = context.session, context.query(schemas.MemberQuery, limit=PAGE_SIZE)
    rows, following = await service.list_members(session, context.caller, it.id, query, context.runtime)
    wanted = context.query(IdentityQuery, limit=_FOUND, status=["active", "suspended"], cursor=None)
    searched = (
        None if wanted.q is None else await identities.list_identities(session, wanted, context.runtime)
    )
    return {
        "members": [schemas.MemberView.from_row(row) for row in rows],
        "names": await context.names([row.identity_id for row in rows]),
        "q": wanted.q,
        "searched": searched,
        "among": await members_among(session, it.id, [one.id for one in searched.items] if searched else []),
        **context.pager(following),
    }


async def _grants(context: PageContext, it: schemas.GroupView) -> dict[str, Any]:
    """A page of the group's grants, described."""
    query = context.query(GrantQuery, limit=PAGE_SIZE, group_id=[it.id], include=None)
    listed = await grants.list_grants(context.session, context.caller, query, context.runtime)
    found = GrantView.page(*listed, context.now)
    names = await context.names(id for one in found.items for id in ids_to_name(one.principal, one.servers))
    return {
        "grants": [(one, describe_access(one, names)) for one in found.items],
        **context.pager(found.next_cursor),
    }


@router.get(GROUPS + "/{group_id}/edit", operation_id="page_edit_group")
async def show_edit(group_id: GroupId, context: Writer) -> Response:
    """Show the form that changes a group."""
    return _show_form(context, await _read(context, group_id))


@router.post(GROUPS + "/{group_id}/edit", operation_id="page_update_group")
async def update(sent: Written, group_id: GroupId) -> Response:
    """Change a group at the revision that was shown."""
    it = await _read(sent, group_id)
    async with sent.attempt():
        body = validate(schemas.GroupUpdate, _values_of(sent.form))
        await service.update_group(sent.change, group_id, body, sent.shown)
    if sent.problems:
        return _show_form(sent, it)
    return redirect(f"{link('group', group_id)}?done=changed")


@router.post(GROUPS + "/{group_id}/members", operation_id="page_add_group_member")
async def add_member(sent: Written, group_id: GroupId) -> Response:
    """Add a member to a group."""
    async with sent.attempt():
        member = sent.form.object_id("identity_id", IDENTITY)
        await service.add_member(sent.change, group_id, member, Precondition(None))
    if sent.problems:
        return await _show(sent, group_id)
    return redirect(f"{link('group', group_id)}?done=added")


@router.post(GROUPS + "/{group_id}/members/remove", operation_id="page_remove_group_member")
async def remove_member(sent: Written, group_id: GroupId) -> Response:
    """Remove a member from a group."""
    removed = sent.form.object_id("identity_id", IDENTITY)
    await service.remove_member(sent.change, group_id, removed, Precondition(None))
    return redirect(f"{link('group', group_id)}?done=removed&removed={format_id(IDENTITY, removed)}")


@router.get(GROUPS + "/{group_id}/end", operation_id="page_end_group")
async def show_end(group_id: GroupId, context: Writer) -> Response:
    """Show what ends with a group."""
    return context.page("groups/end.html", it=await _read(context, group_id))


@router.post(GROUPS + "/{group_id}/end", operation_id="page_do_end_group")
async def end(sent: Written, group_id: GroupId) -> Response:
    """End a group at the revision that was shown."""
    it = await _read(sent, group_id)
    async with sent.attempt():
        await service.end_group(sent.change, group_id, sent.shown)
    if sent.problems:
        return sent.page("groups/end.html", it=it)
    return redirect(f"{GROUPS}?done=ended")


async def _read(context: PageContext, group_id: UUID) -> schemas.GroupView:
    return schemas.GroupView.from_row(await service.get_group(context.session, context.caller, group_id))


def _values_of(form: Form) -> dict[str, Any]:
    """The form's fields by the API's names; an empty field is null, except the name."""
    return {name: form.text(name) or (None if name != "name" else "") for name in _FIELDS}


def _show_form(context: PageContext, it: schemas.GroupView | None) -> Response:
    """Show the form with what was typed, or else with the group."""
    form = context.form
    saved = {name: getattr(it, name, None) or "" for name in _FIELDS}
    return context.page(
        "groups/form.html",
        it=it,
        values={name: form.raw(name) for name in _FIELDS} if context.problems else saved,
        revision=form.text("revision") if context.problems or it is None else str(it.revision),
    )
