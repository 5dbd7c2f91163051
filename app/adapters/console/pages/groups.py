"""Groups as pages: the list, and one with its members and what it was granted.

Changing groups on pages: making, renaming and ending them, adding and removing members.
"""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import (
    AsShown,
    Form,
    Problems,
    attempted,
    first_page,
    next_page,
    read_query,
    validated,
)
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.grants import ids_of, words_of_right
from app.adapters.console.pages.principals import PAGE_SIZE, called
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
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
Reader = Annotated[Viewer, signed_in(Permission.GROUPS_READ)]
_FOUND = 8
_DONE = {
    "made": "It is made. Add members, and grant it access.",
    "changed": "The changes are saved.",
    "added": "Added: what the group was granted is within reach at once.",
    "removed": "Removed: what the group was granted is out of reach at once.",
    "ended": "The group has ended, with its grants and memberships.",
}


@router.get(GROUPS, operation_id="page_list_groups")
async def show_groups(
    request: Request, viewer: Reader, session: Session, runtime: CurrentRuntime
) -> Response:
    """Groups, newest first."""
    query = read_query(GroupQuery, request, limit=PAGE_SIZE, include=None)
    found = GroupView.page(*await service.list_groups(session, viewer.caller, query, runtime))
    owners = [one.owner_group_id for one in found.items]
    return page(
        request, "groups/list.html", viewer=viewer, items=found.items, query=query,
        names=await names_of(session, [*owners, *query.member_id]),
        is_filtered=bool(query.q or query.source or query.member_id), more=next_page(request, found.next_cursor),
        first=first_page(request), done=_DONE.get(request.query_params.get("done", "")),
    )  # fmt: skip


Writer = Annotated[Viewer, signed_in(Permission.GROUPS_WRITE)]
Written = Annotated[Submission, submitted(Permission.GROUPS_WRITE)]
_FIELDS = ("name", "description", "external_id")


@router.get(f"{GROUPS}/new", operation_id="page_new_group")
async def show_new(request: Request, viewer: Writer) -> Response:
    """A form for a group."""
    return _show_form(request, viewer, None, dict.fromkeys(_FIELDS, ""), "", Problems())


@router.post(f"{GROUPS}/new", operation_id="page_create_group")
async def create(request: Request, sent: Written, session: Session) -> Response:
    """Make an empty group."""
    async with attempted(session) as attempt:
        body = validated(GroupCreate, _values_of(sent.form))
        made = await service.create_group(sent.change, body)
    if attempt.problems:
        return _show_form(request, sent.viewer, None, _typed(sent.form), "", attempt.problems)
    return redirect(f"{GROUPS}/{format_id(GROUP, made.id)}?done=made")


@router.get(GROUPS + "/{group_id}", operation_id="page_show_group")
async def show_group(
    request: Request, group_id: GroupId, viewer: Reader, session: Session, runtime: CurrentRuntime
) -> Response:
    """One group: its members, or what it was granted."""
    it = GroupView.from_row(await service.get_group(session, viewer.caller, group_id))
    return await show_one(request, viewer, session, runtime, it)


async def show_one(
    request: Request, viewer: Viewer, session: AsyncSession, runtime: Runtime, it: GroupView,
    problems: Problems | None = None,
) -> Response:  # fmt: skip
    """The page of a group, with what is wrong with a change of its members, if something is."""
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
        called=called, **read,
    )  # fmt: skip


async def _may_change_members(session: AsyncSession, viewer: Viewer, group_id: UUID) -> bool:
    group = await service.get_group(session, viewer.caller, group_id)
    try:
        await service.check_may_change_members(session, viewer.caller, group)
    except Forbidden:
        return False
    return True


async def _removed(request: Request, session: AsyncSession, group_id: UUID) -> Identity | None:
    """Who was just taken out of the group, to be put back by one click."""
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
    """A page of members, and who was searched for with whether they are in it."""
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
    """A page of what the group was granted, in words."""
    query = read_query(GrantQuery, request, limit=PAGE_SIZE, group_id=[it.id], include=None)
    listed = await grants.list_grants(session, viewer.caller, query, runtime)
    found = GrantView.page(*listed, runtime.clock())
    names = await names_of(session, [id for one in found.items for id in ids_of(one.principal, one.servers)])
    return {
        "grants": [(one, words_of_right(one, names)) for one in found.items],
        "more": next_page(request, found.next_cursor),
        "first": first_page(request),
    }


@router.get(GROUPS + "/{group_id}/edit", operation_id="page_edit_group")
async def show_edit(request: Request, group_id: GroupId, viewer: Writer, session: Session) -> Response:
    """A form with what is known of a group."""
    it = await _read(group_id, viewer, session)
    values = {name: getattr(it, name) or "" for name in _FIELDS}
    return _show_form(request, viewer, it, values, str(it.revision), Problems())


@router.post(GROUPS + "/{group_id}/edit", operation_id="page_update_group")
async def update(request: Request, group_id: GroupId, sent: Written, session: Session) -> Response:
    """Change what is known of a group, as it was shown."""
    it = await _read(group_id, sent.viewer, session)
    revision = sent.form.text("revision")
    async with attempted(session) as attempt:
        body = validated(GroupUpdate, _values_of(sent.form))
        await service.update_group(sent.change, group_id, body, AsShown.by(sent.form))
    if attempt.problems:
        return _show_form(request, sent.viewer, it, _typed(sent.form), revision, attempt.problems)
    return redirect(f"{GROUPS}/{format_id(GROUP, group_id)}?done=changed")


@router.post(GROUPS + "/{group_id}/members", operation_id="page_add_group_member")
async def add_member(
    request: Request, group_id: GroupId, sent: Written, session: Session, runtime: CurrentRuntime
) -> Response:
    """Put somebody into a group."""
    async with attempted(session) as attempt:
        await service.add_member(sent.change, group_id, parse_member(sent.form), Precondition(None))
    if attempt.problems:
        it = await _read(group_id, sent.viewer, session)
        return await show_one(request, sent.viewer, session, runtime, it, attempt.problems)
    return redirect(f"{GROUPS}/{format_id(GROUP, group_id)}?done=added")


@router.post(GROUPS + "/{group_id}/members/remove", operation_id="page_remove_group_member")
async def remove_member(group_id: GroupId, sent: Written) -> Response:
    """Take somebody out of a group."""
    await service.remove_member(sent.change, group_id, parse_member(sent.form), Precondition(None))
    removed = format_id(IDENTITY, parse_member(sent.form))
    return redirect(f"{GROUPS}/{format_id(GROUP, group_id)}?done=removed&removed={removed}")


@router.get(GROUPS + "/{group_id}/end", operation_id="page_end_group")
async def show_end(request: Request, group_id: GroupId, viewer: Writer, session: Session) -> Response:
    """What ends with a group."""
    it = await _read(group_id, viewer, session)
    return page(request, "groups/end.html", viewer=viewer, it=it, problems=Problems())


@router.post(GROUPS + "/{group_id}/end", operation_id="page_do_end_group")
async def end(request: Request, group_id: GroupId, sent: Written, session: Session) -> Response:
    """End a group, as it was shown."""
    it = await _read(group_id, sent.viewer, session)
    async with attempted(session) as attempt:
        await service.end_group(sent.change, group_id, AsShown.by(sent.form))
    if attempt.problems:
        found = attempt.problems
        return page(
            request, "groups/end.html", viewer=sent.viewer, status=found.status, it=it, problems=found
        )
    return redirect(f"{GROUPS}?done=ended")


async def _read(group_id: UUID, viewer: Viewer, session: AsyncSession) -> GroupView:
    return GroupView.from_row(await service.get_group(session, viewer.caller, group_id))


def parse_member(form: Form) -> Any:
    """Who a form is about. Raises ``Malformed``."""
    try:
        return parse_id(IDENTITY, form.text("identity_id"))
    except ValueError:
        raise Malformed("The form cannot be read: it names nobody that there could be.") from None


def _values_of(form: Form) -> dict[str, Any]:
    """The fields of a form by the names of the API; empty is none, but a name is never none."""
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
