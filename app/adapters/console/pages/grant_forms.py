"""The form of a grant: who, which servers and tools, until when; a summary in a sentence; and then it is made."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.adapters.console.forms import AsShown, Form, Problems, attempted
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.grant_choices import choices_for
from app.adapters.console.pages.grant_wish import Wish
from app.adapters.console.pages.grant_words import ids_of, link, words_of_right
from app.adapters.console.pages.grants import HOME, preview_of
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.db.engine import undo
from app.features.audit.names import names_of
from app.features.grants import routes as grants
from app.features.grants import service
from app.features.grants.schemas import GrantView
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import GrantId

NEW = f"{HOME}/new"
# A thousand names of tools, and as many servers, are carried along.
_LARGEST = 512 * 1024
router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(NEW, operation_id="page_new_grant")
async def new_page(
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.GRANTS_WRITE)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """The empty form, or with what a link from another page says."""
    return await _form(request, Wish.asked(request.query_params), Form(), viewer, session, runtime)


@router.post(NEW, operation_id="page_create_grant")
async def create(
    request: Request,
    submission: Annotated[Submission, submitted(Permission.GRANTS_WRITE, largest=_LARGEST)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """Search on with what is chosen; show the summary; or make the grant that was summed up."""
    viewer, form = submission.viewer, submission.form
    wish, step = Wish.typed(form), form.text("do")
    if step not in {"review", "create"}:
        return await _form(request, wish, form, viewer, session, runtime)
    async with attempted(session) as attempt:
        wish.settle(runtime.clock())
        body = wish.create(runtime.clock())
        made = await service.create_grant(
            session, viewer.caller, body, runtime.clock(), request.state.request_id
        )
    if attempt.problems:
        return await _form(request, wish, form, viewer, session, runtime, attempt.problems)
    if step == "create":
        return redirect(f"{link('grant', made.id)}?done=created")
    shown = GrantView.from_row(made, runtime.clock())
    # It was made to see whether it can be.
    await undo(session)
    return await _review(request, wish, shown, None, viewer, session, snapshot)


@router.get(f"{HOME}/{{grant_id}}/edit", operation_id="page_edit_grant")
async def edit_page(
    grant_id: GrantId,
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.GRANTS_WRITE)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """The form with the grant as it is."""
    grant = await _read(grant_id, viewer, session, runtime)
    return await _form(request, Wish.of(grant), Form(), viewer, session, runtime, grant=grant)


@router.post(f"{HOME}/{{grant_id}}/edit", operation_id="page_update_grant")
async def update(
    grant_id: GrantId,
    request: Request,
    submission: Annotated[Submission, submitted(Permission.GRANTS_WRITE, largest=_LARGEST)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """Search on with what is chosen; show what would change; or change the grant as it was summed up."""
    viewer, form = submission.viewer, submission.form
    wish, step = Wish.typed(form), form.text("do")
    before = await _read(grant_id, viewer, session, runtime)
    if step not in {"review", "create"}:
        return await _form(request, wish, form, viewer, session, runtime, grant=before)
    async with attempted(session) as attempt:
        wish.settle(runtime.clock())
        body = wish.update(runtime.clock())
        after = await grants.update_grant(
            grant_id, body, viewer.caller, session, runtime, request, AsShown.by(form), Response()
        )
    if attempt.problems:
        return await _form(request, wish, form, viewer, session, runtime, attempt.problems, grant=before)
    if step == "create":
        return redirect(f"{link('grant', grant_id)}?done=updated")
    await undo(session)
    return await _review(request, wish, after, before, viewer, session, snapshot)


async def _read(grant_id: Any, viewer: Viewer, session: AsyncSession, runtime: Runtime) -> GrantView:
    return await grants.get_grant(grant_id, viewer.caller, session, runtime, Response(), None)


async def _form(
    request: Request,
    wish: Wish,
    form: Form,
    viewer: Viewer,
    session: AsyncSession,
    runtime: Runtime,
    problems: Problems | None = None,
    *,
    grant: GrantView | None = None,
) -> Response:
    return page(
        request,
        "grants/form.html",
        viewer=viewer,
        status=200 if problems is None else problems.status,
        wish=wish,
        choices=await choices_for(wish, form, viewer, session, runtime),
        problems=problems,
        found=problems,
        grant=grant,
        # What somebody typed over stays of the revision that they saw.
        revision=form.text("revision") or (None if grant is None else grant.revision),
        action=NEW if grant is None else f"{link('grant', grant.id)}/edit",
        back=HOME if grant is None else link("grant", grant.id),
    )


async def _review(
    request: Request,
    wish: Wish,
    grant: GrantView,
    before: GrantView | None,
    viewer: Viewer,
    session: AsyncSession,
    snapshot: AccessSnapshot,
) -> Response:
    """What would be made, or become of a grant, in a sentence; and the form that does it."""
    shown = [one for one in (grant, before) if one is not None]
    names = await names_of(session, [id for one in shown for id in ids_of(one.principal, one.servers)])
    return page(
        request,
        "grants/review.html",
        viewer=viewer,
        it=grant,
        who=names.get(grant.principal.id, ""),
        reached=await preview_of(grant, viewer, session, snapshot),
        right=words_of_right(grant, names),
        before=before,
        reached_before=None if before is None else await preview_of(before, viewer, session, snapshot),
        right_before=None if before is None else words_of_right(before, names),
        pairs=wish.pairs(),
        action=NEW if before is None else f"{link('grant', before.id)}/edit",
        link=link,
    )
