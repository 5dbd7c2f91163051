"""Groups: the list, one group with its members and grants, and the forms that change them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import (
    Form,
    Problems,
    ShownRevision,
    attempt_change,
    first_page,
    next_page,
    read_query,
    validate,
)
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.grants import describe_access, ids_to_name
from app.adapters.console.pages.principals import PAGE_SIZE, format_name
from app.adapters.console.viewer import Submission, Viewer, require_submission, require_viewer
from app.domain.errors import Forbidden, Malformed, NotFound
from app.features.audit.names import names_of
from app.features.grants import service as grants
from app.features.grants.schemas import GrantQuery, GrantView
from app.features.groups import service
from app.features.groups.queries import members_among
from app.features.groups.schemas import (
    GroupCreate,
    GroupQuery,
    GroupUpdate,
    GroupView,
    MemberQuery,
    MemberView,
)
from app.features.identities import routes as identities
from app.features.identities.schemas import IdentityQuery
from app.http.authorization import Permission, authorize
from app.http.etags import Precondition
from app.http.pagination import Page
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import GROUP, IDENTITY, GroupId, format_id, parse_id
from app.models.identities import Identity

router = APIRouter(include_in_schema=False, route_class=PageRoute)


GROUPS = "/console/groups"
Reader = Annotated[Viewer, require_viewer(Permission.GROUPS_READ)]
_FOUND = 8
_DONE = {
    "made": "The group was created. Add members, and grant it access.",
    "changed": "The changes are saved.",
    "added": "Member added. The group's grants apply to them immediately.",
    "removed": "Member removed. The group's grants no longer apply to them.",
    "ended": "The group was deleted with its grants and memberships.",
}


@router.get(GROUPS, operation_id="page_list_groups")
async def show_groups(
    request: Request, viewer: Reader, session: Session, runtime: CurrentRuntime
) -> Response:
    """List groups, newest first."""
    query = read_query(GroupQuery, request, limit=PAGE_SIZE, include=None)
    found = GroupView.page(*await service.list_groups(session, viewer.caller, query, runtime))
    owners = [one.owner_group_id for one in found.items]
    return page(
        request, "groups/list.html", viewer=viewer, items=found.items, query=query,
        names=await names_of(session, [*owners, *query.member_id]),
        is_filtered=bool(query.q or query.source or query.member_id), more=next_page(request, found.next_cursor),
        first=first_page(request), done=_DONE.get(request.query_params.get("done", "")),
    )  # fmt: skip


Writer = Annotated[Viewer, require_viewer(Permission.GROUPS_WRITE)]
Written = Annotated[Submission, require_submission(Permission.GROUPS_WRITE)]
_FIELDS = ("name", "description", "external_id")


@router.get(f"{GROUPS}/new", operation_id="page_new_group")
async def show_new(request: Request, viewer: Writer) -> Response:
    """Show the form for a new group."""
    return _show_form(request, viewer, None, dict.fromkeys(_FIELDS, ""), "", Problems())


@router.post(f"{GROUPS}/new", operation_id="page_create_group")
async def create(request: Request, sent: Written, session: Session) -> Response:
    """Create an empty group."""
    async with attempt_change(session) as attempt:
        body = validate(GroupCreate, _values_of(sent.form))
        made = await service.create_group(sent.change, body)
    if attempt.problems:
        return _show_form(request, sent.viewer, None, _typed(sent.form), "", attempt.problems)
    return redirect(f"{GROUPS}/{format_id(GROUP, made.id)}?done=made")


@router.get(GROUPS + "/{group_id}", operation_id="page_show_group")
async def show_group(
    request: Request, group_id: GroupId, viewer: Reader, session: Session, runtime: CurrentRuntime
) -> Response:
    """Show a group: its members or its grants."""
    it = GroupView.from_row(await service.get_group(session, viewer.caller, group_id))
    return await show_one(request, viewer, session, runtime, it)


async def show_one(
    request: Request, viewer: Viewer, session: AsyncSession, runtime: Runtime, it: GroupView,
    problems: Problems | None = None,
) -> Response:  # fmt: skip
    """Show the page of a group, with errors of a change of its members."""
    problems = problems or Problems()
    tab = "members" if problems else request.query_params.get("tab") or "members"
    if tab == "grants":
        authorize(viewer.caller, Permission.GRANTS_READ)
        read = await _grants(request, viewer, session, runtime, it)
    elif tab == "members":
        read = await _members(request, viewer, session, runtime, it)
    else:
        raise NotFound("There is no such page.")
    owner = await names_of(session, [it.owner_group_id])
    may_change = viewer.may(Permission.GROUPS_WRITE) and await _may_change_members(session, viewer, it.id)
    removed = await _removed(request, session, it.id) if may_change and tab == "members" else None
    return page(
        request, "groups/one.html", viewer=viewer, status=problems.status, problems=problems, it=it, tab=tab,
        owner=owner.get(it.owner_group_id) if it.owner_group_id else None,
        done=_DONE.get(request.query_params.get("done", "")), may_change=may_change, removed=removed,
        format_name=format_name, **read,
    )  # fmt: skip


async def _may_change_members(session: AsyncSession, viewer: Viewer, group_id: UUID) -> bool:
    group = await service.get_group(session, viewer.caller, group_id)
    try:
        await service.check_may_change_members(session, viewer.caller, group)
    except Forbidden:
        return False
    return True


async def _removed(request: Request, session: AsyncSession, group_id: UUID) -> Identity | None:
    """The member who was just removed, to be added back by one click."""
    try:
        id = parse_id(IDENTITY, request.query_params.get("removed", ""))
    except ValueError:
        return None
    identity = await session.get(Identity, id)
    if identity is None or identity.status == "offboarded" or await members_among(session, group_id, [id]):
        return None
    return identity


async def _members(
    request: Request, viewer: Viewer, session: AsyncSession, runtime: Runtime, it: GroupView
) -> dict[str, Any]:
    """A page of members, and the search results with whether each is a member."""
    query = read_query(MemberQuery, request, limit=PAGE_SIZE)
    rows, following = await service.list_members(session, viewer.caller, it.id, query, runtime)
    found = Page(items=[MemberView.from_row(row) for row in rows], next_cursor=following)
    wanted = read_query(IdentityQuery, request, limit=_FOUND, status=["active", "suspended"], cursor=None)
    searched = None if wanted.q is None else await identities.list_identities(wanted, session, runtime)
    among = await members_among(session, it.id, [one.id for one in searched.items]) if searched else set()
    return {
        "members": found.items,
        "names": await names_of(session, [one.identity_id for one in found.items]),
        "q": wanted.q,
        "searched": searched,
        "among": among,
        "more": next_page(request, found.next_cursor),
        "first": first_page(request),
    }


async def _grants(
    request: Request, viewer: Viewer, session: AsyncSession, runtime: Runtime, it: GroupView
) -> dict[str, Any]:
    """A page of the group's grants, described."""
    query = read_query(GrantQuery, request, limit=PAGE_SIZE, group_id=[it.id], include=None)
    listed = await grants.list_grants(session, viewer.caller, query, runtime)
    found = GrantView.page(*listed, runtime.clock())
    names = await names_of(
        session, [id for one in found.items for id in ids_to_name(one.principal, one.servers)]
    )
    return {
        "grants": [(one, describe_access(one, names)) for one in found.items],
        "more": next_page(request, found.next_cursor),
        "first": first_page(request),
    }


@router.get(GROUPS + "/{group_id}/edit", operation_id="page_edit_group")
async def show_edit(request: Request, group_id: GroupId, viewer: Writer, session: Session) -> Response:
    """Show the form that changes a group."""
    it = await _read(group_id, viewer, session)
    values = {name: getattr(it, name) or "" for name in _FIELDS}
    return _show_form(request, viewer, it, values, str(it.revision), Problems())


@router.post(GROUPS + "/{group_id}/edit", operation_id="page_update_group")
async def update(request: Request, group_id: GroupId, sent: Written, session: Session) -> Response:
    """Change a group at the revision that was shown."""
    it = await _read(group_id, sent.viewer, session)
    revision = sent.form.text("revision")
    async with attempt_change(session) as attempt:
        body = validate(GroupUpdate, _values_of(sent.form))
        await service.update_group(sent.change, group_id, body, ShownRevision.from_form(sent.form))
    if attempt.problems:
        return _show_form(request, sent.viewer, it, _typed(sent.form), revision, attempt.problems)
    return redirect(f"{GROUPS}/{format_id(GROUP, group_id)}?done=changed")


@router.post(GROUPS + "/{group_id}/members", operation_id="page_add_group_member")
async def add_member(
    request: Request, group_id: GroupId, sent: Written, session: Session, runtime: CurrentRuntime
) -> Response:
    """Add a member to a group."""
    async with attempt_change(session) as attempt:
        await service.add_member(sent.change, group_id, parse_member(sent.form), Precondition(None))
    if attempt.problems:
        it = await _read(group_id, sent.viewer, session)
        return await show_one(request, sent.viewer, session, runtime, it, attempt.problems)
    return redirect(f"{GROUPS}/{format_id(GROUP, group_id)}?done=added")


@router.post(GROUPS + "/{group_id}/members/remove", operation_id="page_remove_group_member")
async def remove_member(group_id: GroupId, sent: Written) -> Response:
    """Remove a member from a group."""
    await service.remove_member(sent.change, group_id, parse_member(sent.form), Precondition(None))
    removed = format_id(IDENTITY, parse_member(sent.form))
    return redirect(f"{GROUPS}/{format_id(GROUP, group_id)}?done=removed&removed={removed}")


@router.get(GROUPS + "/{group_id}/end", operation_id="page_end_group")
async def show_end(request: Request, group_id: GroupId, viewer: Writer, session: Session) -> Response:
    """Show what ends with a group."""
    it = await _read(group_id, viewer, session)
    return page(request, "groups/end.html", viewer=viewer, it=it, problems=Problems())


@router.post(GROUPS + "/{group_id}/end", operation_id="page_do_end_group")
async def end(request: Request, group_id: GroupId, sent: Written, session: Session) -> Response:
    """End a group at the revision that was shown."""
    it = await _read(group_id, sent.viewer, session)
    async with attempt_change(session) as attempt:
        await service.end_group(sent.change, group_id, ShownRevision.from_form(sent.form))
    if attempt.problems:
        found = attempt.problems
        return page(
            request, "groups/end.html", viewer=sent.viewer, status=found.status, it=it, problems=found
        )
    return redirect(f"{GROUPS}?done=ended")


async def _read(group_id: UUID, viewer: Viewer, session: AsyncSession) -> GroupView:
    return GroupView.from_row(await service.get_group(session, viewer.caller, group_id))


def parse_member(form: Form) -> Any:
    """The identity that a form names. Raises ``Malformed``."""
    try:
        return parse_id(IDENTITY, form.text("identity_id"))
    except ValueError:
        raise Malformed("The form cannot be read: it names an invalid identity.") from None


def _values_of(form: Form) -> dict[str, Any]:
    """The form's fields by the API's names; an empty field is null, except the name."""
    return {name: form.text(name) or (None if name != "name" else "") for name in _FIELDS}


def _typed(form: Form) -> dict[str, str]:
    return {name: form.raw(name) for name in _FIELDS}


def _show_form(
    request: Request,
    viewer: Viewer,
    it: GroupView | None,
    values: dict[str, str],
    revision: str,
    found: Problems,
) -> Response:
    return page(
        request, "groups/form.html", viewer=viewer, status=found.status, problems=found, it=it, values=values,
        revision=revision,
    )  # fmt: skip
