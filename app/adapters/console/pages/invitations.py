"""Invitations: the list, the form, the claimed account to confirm, and revocation."""

from typing import Annotated, Any

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
from app.adapters.console.pages.principals import PAGE_SIZE
from app.adapters.console.viewer import Submission, Viewer, require_submission, require_viewer
from app.domain.errors import NotFound
from app.features.audit.names import names_of
from app.features.identity_providers import queries as providers
from app.features.identity_providers.schemas import Provider
from app.features.invitations import routes as invitations
from app.features.invitations import service
from app.features.invitations.schemas import PAGE, InvitationCreate, InvitationQuery
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session
from app.lib.ids import IDENTITY, IDENTITY_PROVIDER, INVITATION, InvitationId, format_id, parse_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)

INVITATIONS = "/console/invitations"
Reader = Annotated[Viewer, require_viewer(Permission.IDENTITIES_READ)]
Writer = Annotated[Viewer, require_viewer(Permission.IDENTITIES_WRITE)]
Written = Annotated[Submission, require_submission(Permission.IDENTITIES_WRITE)]
_DONE = {
    "confirmed": "The account was linked. The person can sign in.",
    "revoked": "The invitation was revoked. Its link no longer works.",
}


@router.get(INVITATIONS, operation_id="page_list_invitations")
async def show_invitations(
    request: Request, viewer: Reader, session: Session, runtime: CurrentRuntime
) -> Response:
    """List invitations, newest first."""
    query = read_query(InvitationQuery, request, limit=PAGE_SIZE)
    found = await invitations.list_invitations(query, session, runtime)
    return page(
        request, "invitations/list.html", viewer=viewer, items=found.items, query=query,
        names=await names_of(session, [one.identity_id for one in found.items]),
        is_filtered=bool(query.status or query.identity_id or query.provider_id),
        more=next_page(request, found.next_cursor), first=first_page(request),
        done=_DONE.get(request.query_params.get("done", "")),
    )  # fmt: skip


@router.get(f"{INVITATIONS}/new", operation_id="page_new_invitation")
async def show_new(request: Request, viewer: Writer, session: Session) -> Response:
    """Show the form that invites a new or an existing person."""
    typed = Form([("identity_id", request.query_params.get("identity_id", ""))])
    return await _show_new(request, viewer, session, typed, Problems())


@router.post(f"{INVITATIONS}/new", operation_id="page_create_invitation")
async def create(request: Request, sent: Written, session: Session, runtime: CurrentRuntime) -> Response:
    """Create an invitation and show its link, which only this response contains."""
    form, request_id = sent.form, request.state.request_id
    async with attempt_change(session) as attempt:
        body = validate(InvitationCreate, _asked(form))
        made = await service.create_invitation(
            session, runtime.peppers, sent.viewer.caller, body, runtime.clock, request_id
        )
    if attempt.problems:
        return await _show_new(request, sent.viewer, session, form, attempt.problems)
    it = await invitations.get_invitation(made.reading.row.id, session, Response())
    return page(
        request, "invitations/made.html", viewer=sent.viewer, it=it, url=f"{runtime.public_url}{PAGE}/{made.secret}",
        names=await names_of(session, [it.identity_id]),
    )  # fmt: skip


@router.get(INVITATIONS + "/{invitation_id}", operation_id="page_show_invitation")
async def show_invitation(
    request: Request, invitation_id: InvitationId, viewer: Reader, session: Session
) -> Response:
    """Show an invitation with the account that claimed it."""
    return await _show(request, viewer, session, invitation_id, Problems())


@router.post(INVITATIONS + "/{invitation_id}/confirm", operation_id="page_confirm_invitation")
async def confirm(request: Request, invitation_id: InvitationId, sent: Written, session: Session) -> Response:
    """Link the account that claimed the invitation to the person."""
    async with attempt_change(session) as attempt:
        shown = ShownRevision.from_form(sent.form)
        await service.confirm_invitation(
            session, sent.viewer.caller, invitation_id, shown, request.state.request_id
        )
    if attempt.problems:
        return await _show(request, sent.viewer, session, invitation_id, attempt.problems)
    return redirect(f"{INVITATIONS}?done=confirmed")


@router.post(INVITATIONS + "/{invitation_id}/revoke", operation_id="page_revoke_invitation")
async def revoke(request: Request, invitation_id: InvitationId, sent: Written, session: Session) -> Response:
    """Revoke an invitation."""
    async with attempt_change(session) as attempt:
        shown = ShownRevision.from_form(sent.form)
        await service.revoke_invitation(
            session, sent.viewer.caller, invitation_id, shown, request.state.request_id
        )
    if attempt.problems:
        return await _show(request, sent.viewer, session, invitation_id, attempt.problems)
    return redirect(f"{INVITATIONS}?done=revoked")


async def _show(
    request: Request, viewer: Viewer, session: AsyncSession, id: InvitationId, problems: Problems
) -> Response:
    it = await invitations.get_invitation(id, session, Response())
    provider = await providers.find(session, it.provider_id, ended=True)
    return page(
        request, "invitations/show.html", viewer=viewer, status=problems.status, problems=problems, it=it,
        path=f"{INVITATIONS}/{format_id(INVITATION, it.id)}", provider=provider.name if provider else "a provider",
        names=await names_of(session, [it.identity_id]),
    )  # fmt: skip


async def _show_new(
    request: Request, viewer: Viewer, session: AsyncSession, typed: Form, problems: Problems
) -> Response:
    known = await providers.browser_providers(session)
    names = {}
    if typed.text("identity_id"):
        try:
            names = await names_of(session, [parse_id(IDENTITY, typed.text("identity_id"))])
        except ValueError:
            raise NotFound("There is no such page.") from None
    return page(
        request, "invitations/new.html", viewer=viewer, status=problems.status, problems=problems, typed=typed,
        providers=[_option(one) for one in known], who=next(iter(names.values()), None),
    )  # fmt: skip


def _option(provider: Provider) -> tuple[str, str]:
    return format_id(IDENTITY_PROVIDER, provider.id), provider.name


def _asked(form: Form) -> dict[str, Any]:
    """The form's fields by the API's names."""
    asked: dict[str, Any] = {
        "provider_id": form.text("provider_id"),
        form.text("by", "email"): form.text("value"),
    }
    if form.text("identity_id"):
        return asked | {"identity_id": form.text("identity_id")}
    person = {name: form.text(name) or None for name in ("user_name", "display_name")}
    return asked | {"person": person}
