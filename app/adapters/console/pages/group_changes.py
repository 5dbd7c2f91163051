"""Changing groups on pages: making, renaming and ending them, adding and removing members."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response

from app.adapters.console.forms import AsShown, Form, Problems, attempted, validated
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.groups import GROUPS, show_one
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.domain.errors import Malformed
from app.features.groups import routes as groups
from app.features.groups import service
from app.features.groups.end import end_group
from app.features.groups.end_routes import check_may_change_members
from app.features.groups.queries import lock_group
from app.features.groups.schemas import GroupCreate, GroupUpdate, GroupView
from app.http.authorization import Permission
from app.http.etags import Precondition
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session
from app.lib.ids import GROUP, IDENTITY, GroupId, format_id, parse_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)

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
        made = await service.create_group(session, sent.viewer.caller, body, request.state.request_id)
    if attempt.problems:
        return _show_form(request, sent.viewer, None, _typed(sent.form), "", attempt.problems)
    return redirect(f"{GROUPS}/{format_id(GROUP, made.id)}?done=made")


@router.get(GROUPS + "/{group_id}/edit", operation_id="page_edit_group")
async def show_edit(request: Request, group_id: GroupId, viewer: Writer, session: Session) -> Response:
    """A form with what is known of a group."""
    it = await groups.get_group(group_id, viewer.caller, session, Response())
    values = {name: getattr(it, name) or "" for name in _FIELDS}
    return _show_form(request, viewer, it, values, str(it.revision), Problems())


@router.post(GROUPS + "/{group_id}/edit", operation_id="page_update_group")
async def update(request: Request, group_id: GroupId, sent: Written, session: Session) -> Response:
    """Change what is known of a group, as it was shown."""
    it = await groups.get_group(group_id, sent.viewer.caller, session, Response())
    revision = sent.form.text("revision")
    async with attempted(session) as attempt:
        body = validated(GroupUpdate, _values_of(sent.form))
        row = service.live(await lock_group(session, group_id))
        AsShown.by(sent.form).check(row.revision)
        await service.update_group(session, sent.viewer.caller, row, body, request.state.request_id)
    if attempt.problems:
        return _show_form(request, sent.viewer, it, _typed(sent.form), revision, attempt.problems)
    return redirect(f"{GROUPS}/{format_id(GROUP, group_id)}?done=changed")


@router.post(GROUPS + "/{group_id}/members", operation_id="page_add_group_member")
async def add_member(
    request: Request, group_id: GroupId, sent: Written, session: Session, runtime: CurrentRuntime
) -> Response:
    """Put somebody into a group."""
    async with attempted(session) as attempt:
        row = service.live(await lock_group(session, group_id, share=True))
        await check_may_change_members(session, sent.viewer.caller, row)
        identity_id = parse_member(sent.form)
        nothing = Precondition(None)
        await service.add_member(
            session, sent.viewer.caller, row, identity_id, nothing, request.state.request_id
        )
    if attempt.problems:
        it = await groups.get_group(group_id, sent.viewer.caller, session, Response())
        return await show_one(request, sent.viewer, session, runtime, it, attempt.problems)
    return redirect(f"{GROUPS}/{format_id(GROUP, group_id)}?done=added")


@router.post(GROUPS + "/{group_id}/members/remove", operation_id="page_remove_group_member")
async def remove_member(request: Request, group_id: GroupId, sent: Written, session: Session) -> Response:
    """Take somebody out of a group."""
    row = service.live(await lock_group(session, group_id, share=True))
    await check_may_change_members(session, sent.viewer.caller, row)
    await service.remove_member(
        session,
        sent.viewer.caller,
        row,
        parse_member(sent.form),
        Precondition(None),
        request.state.request_id,
    )
    removed = format_id(IDENTITY, parse_member(sent.form))
    return redirect(f"{GROUPS}/{format_id(GROUP, group_id)}?done=removed&removed={removed}")


@router.get(GROUPS + "/{group_id}/end", operation_id="page_end_group")
async def show_end(request: Request, group_id: GroupId, viewer: Writer, session: Session) -> Response:
    """What ends with a group."""
    it = await groups.get_group(group_id, viewer.caller, session, Response())
    return page(request, "groups/end.html", viewer=viewer, it=it, problems=Problems())


@router.post(GROUPS + "/{group_id}/end", operation_id="page_do_end_group")
async def end(
    request: Request, group_id: GroupId, sent: Written, session: Session, runtime: CurrentRuntime
) -> Response:
    """End a group, as it was shown."""
    it = await groups.get_group(group_id, sent.viewer.caller, session, Response())
    async with attempted(session) as attempt:
        row = service.live(await lock_group(session, group_id))
        AsShown.by(sent.form).check(row.revision)
        await check_may_change_members(session, sent.viewer.caller, row)
        await end_group(session, sent.viewer.caller, row, runtime.clock(), request.state.request_id)
    if attempt.problems:
        found = attempt.problems
        return page(
            request, "groups/end.html", viewer=sent.viewer, status=found.status, it=it, problems=found
        )
    return redirect(f"{GROUPS}?done=ended")


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
