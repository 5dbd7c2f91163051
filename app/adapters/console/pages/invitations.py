"""Invitations: the list, the form, the claimed account to confirm, and revocation."""

from typing import Annotated, Any

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.forms import Form, validate
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.principals import PAGE_SIZE
from app.domain.errors import NotFound
from app.features.identity_providers import queries as providers
from app.features.invitations import routes as invitations
from app.features.invitations import service
from app.features.invitations.schemas import PAGE, InvitationCreate, InvitationQuery
from app.http.authorization import Permission
from app.lib.ids import IDENTITY, IDENTITY_PROVIDER, INVITATION, InvitationId, format_id, parse_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)

INVITATIONS = "/console/invitations"
Reader = Annotated[PageContext, may_open(Permission.IDENTITIES_READ)]
Writer = Annotated[PageContext, may_open(Permission.IDENTITIES_WRITE)]
Written = Annotated[Submission, may_submit(Permission.IDENTITIES_WRITE)]
_DONE = {
    "confirmed": "The account was linked. The person can sign in.",
    "revoked": "The invitation was revoked. Its link no longer works.",
}


@router.get(INVITATIONS, operation_id="page_list_invitations")
async def show_invitations(context: Reader) -> Response:
    """List invitations, newest first."""
    query = context.query(InvitationQuery, limit=PAGE_SIZE)
    found = await invitations.list_invitations(query, context.session, context.runtime)
    return context.page(
        "invitations/list.html", items=found.items, query=query,
        names=await context.names([one.identity_id for one in found.items]),
        is_filtered=bool(query.status or query.identity_id or query.provider_id),
        done=_DONE, **context.pager(found.next_cursor),
    )  # fmt: skip


@router.get(f"{INVITATIONS}/new", operation_id="page_new_invitation")
async def show_new(context: Writer) -> Response:
    """Show the form that invites a new or an existing person."""
    return await _show_new(context)


@router.post(f"{INVITATIONS}/new", operation_id="page_create_invitation")
async def create(sent: Written) -> Response:
    """Create an invitation and show its link, which only this response contains."""
    async with sent.attempt():
        body = validate(InvitationCreate, _asked(sent.form))
        made = await service.create_invitation(
            sent.session, sent.runtime.peppers, sent.caller, body, sent.runtime.clock, sent.request_id
        )
    if sent.problems:
        return await _show_new(sent)
    it = await invitations.get_invitation(made.reading.row.id, sent.session, Response())
    return sent.page(
        "invitations/made.html", it=it, url=f"{sent.runtime.public_url}{PAGE}/{made.secret}",
        names=await sent.names([it.identity_id]),
    )  # fmt: skip


@router.get(INVITATIONS + "/{invitation_id}", operation_id="page_show_invitation")
async def show_invitation(context: Reader, invitation_id: InvitationId) -> Response:
    """Show an invitation with the account that claimed it."""
    return await _show(context, invitation_id)


@router.post(INVITATIONS + "/{invitation_id}/confirm", operation_id="page_confirm_invitation")
async def confirm(sent: Written, invitation_id: InvitationId) -> Response:
    """Link the account that claimed the invitation to the person."""
    async with sent.attempt():
        await service.confirm_invitation(
            sent.session, sent.caller, invitation_id, sent.shown, sent.request_id
        )
    if sent.problems:
        return await _show(sent, invitation_id)
    return redirect(f"{INVITATIONS}?done=confirmed")


@router.post(INVITATIONS + "/{invitation_id}/revoke", operation_id="page_revoke_invitation")
async def revoke(sent: Written, invitation_id: InvitationId) -> Response:
    """Revoke an invitation."""
    async with sent.attempt():
        await service.revoke_invitation(sent.session, sent.caller, invitation_id, sent.shown, sent.request_id)
    if sent.problems:
        return await _show(sent, invitation_id)
    return redirect(f"{INVITATIONS}?done=revoked")


async def _show(context: PageContext, id: InvitationId) -> Response:
    it = await invitations.get_invitation(id, context.session, Response())
    provider = await providers.find(context.session, it.provider_id, ended=True)
    return context.page(
        "invitations/show.html", it=it,
        path=f"{INVITATIONS}/{format_id(INVITATION, it.id)}", provider=provider.name if provider else "a provider",
        names=await context.names([it.identity_id]),
    )  # fmt: skip


async def _show_new(context: PageContext) -> Response:
    typed = context.form or Form([("identity_id", context.param("identity_id"))])
    who, id = None, typed.text("identity_id")
    if id:
        try:
            who = await context.name(parse_id(IDENTITY, id))
        except ValueError:
            raise NotFound("There is no such page.") from None
    return context.page(
        "invitations/new.html", typed=typed, who=who,
        providers=[
            (format_id(IDENTITY_PROVIDER, one.id), one.name)
            for one in await providers.browser_providers(context.session)
        ],
    )  # fmt: skip


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
