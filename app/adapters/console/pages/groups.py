"""Groups: the list, one group with its members and grants, and the forms that change them."""

from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit, on_refusal
from app.adapters.console.display import MAX_IDS, link
from app.adapters.console.forms import validate
from app.adapters.console.page import PageRoute, redirect
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
    listed = await service.list_groups(context.session, context.caller, query, context.runtime)
    found = schemas.GroupView.page(*listed)
    return await context.page("groups/list.html", found, query=query, done=_DONE)


@router.get(f"{GROUPS}/new", operation_id="page_new_group")
async def show_new(context: Writer) -> Response:
    """Show the form for a new group."""
    return await _show_form(context, None)


@router.post(f"{GROUPS}/new", operation_id="page_create_group")
@on_refusal(show_new)
async def create(sent: Written) -> Response:
    """Create an empty group."""
    made = await service.create_group(sent.change, validate(schemas.GroupCreate, sent.form.values(*_FIELDS)))
    return redirect(f"{link('group', made.id)}?done=made")


@router.get(GROUPS + "/{group_id}", operation_id="page_show_group")
async def show_group(context: Reader, group_id: GroupId) -> Response:
    """Show a group: its members, with errors of a change of them, or its grants."""
    group = await service.get_group(context.session, context.caller, group_id)
    it = schemas.GroupView.from_row(group)
    tab = "members" if context.problems else context.param("tab", "members")
    if tab == "grants":
        authorize(context.caller, Permission.GRANTS_READ)
        read = await _grants(context, it)
    elif tab == "members":
        read = await _members(context, it)
    else:
        raise NotFound("There is no such page.")
    may_change, removed = False, None
    if context.may(Permission.GROUPS_WRITE):
        with suppress(Forbidden):
            await service.check_may_change_members(context.session, context.caller, group)
            may_change = True
    if may_change and tab == "members":
        removed = await _removed(context, it.id)
    return await context.page(
        "groups/one.html", it=it, tab=tab, may_change=may_change, removed=removed, done=_DONE, **read
    )


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
    searched, among = None, set[UUID]()
    if wanted.q is not None:
        searched = await identities.list_identities(session, wanted, context.runtime)
        among = await members_among(session, it.id, [one.id for one in searched.items])
    members = [schemas.MemberView.from_row(row) for row in rows]
    shown = {"members": members, "q": wanted.q, "searched": searched, "among": among}
    return shown | context.pager(following)


async def _grants(context: PageContext, it: schemas.GroupView) -> dict[str, Any]:
    """A page of the group's grants."""
    query = context.query(GrantQuery, limit=PAGE_SIZE, group_id=[it.id], include=None)
    listed = await grants.list_grants(context.session, context.caller, query, context.runtime)
    found = GrantView.page(*listed, context.now)
    names = await context.names(it, *found.items, first=MAX_IDS)
    return {"grants": found.items, "names": names, **context.pager(found.next_cursor)}


@router.get(GROUPS + "/{group_id}/edit", operation_id="page_edit_group")
async def show_edit(context: Writer, group_id: GroupId) -> Response:
    """Show the form that changes a group."""
    return await _show_form(context, await _read(context, group_id))


@router.post(GROUPS + "/{group_id}/edit", operation_id="page_update_group")
@on_refusal(show_edit)
async def update(sent: Written, group_id: GroupId) -> Response:
    """Change a group at the revision that was shown."""
    body = validate(schemas.GroupUpdate, sent.form.values(*_FIELDS))
    await service.update_group(sent.change, group_id, body, sent.shown)
    return redirect(f"{link('group', group_id)}?done=changed")


@router.post(GROUPS + "/{group_id}/members", operation_id="page_add_group_member")
@on_refusal(show_group)
async def add_member(sent: Written, group_id: GroupId) -> Response:
    """Add a member to a group."""
    member = sent.form.object_id("identity_id", IDENTITY)
    await service.add_member(sent.change, group_id, member, Precondition(None))
    return redirect(f"{link('group', group_id)}?done=added")


@router.post(GROUPS + "/{group_id}/members/remove", operation_id="page_remove_group_member")
async def remove_member(sent: Written, group_id: GroupId) -> Response:
    """Remove a member from a group."""
    removed = sent.form.object_id("identity_id", IDENTITY)
    await service.remove_member(sent.change, group_id, removed, Precondition(None))
    return redirect(f"{link('group', group_id)}?done=removed&removed={format_id(IDENTITY, removed)}")


@router.get(GROUPS + "/{group_id}/end", operation_id="page_end_group")
async def show_end(context: Writer, group_id: GroupId) -> Response:
    """Show what ends with a group."""
    return await context.page("groups/end.html", it=await _read(context, group_id))


@router.post(GROUPS + "/{group_id}/end", operation_id="page_do_end_group")
@on_refusal(show_end)
async def end(sent: Written, group_id: GroupId) -> Response:
    """End a group at the revision that was shown."""
    await service.end_group(sent.change, group_id, sent.shown)
    return redirect(f"{GROUPS}?done=ended")


async def _read(context: PageContext, group_id: UUID) -> schemas.GroupView:
    return schemas.GroupView.from_row(await service.get_group(context.session, context.caller, group_id))


async def _show_form(context: PageContext, it: schemas.GroupView | None) -> Response:
    """Show the form with what was typed, or else with the group."""
    values = {name: context.form.raw(name, getattr(it, name, None) or "") for name in _FIELDS}
    revision = context.form.text("revision", str(getattr(it, "revision", "")))
    return await context.page("groups/form.html", it=it, values=values, revision=revision)
