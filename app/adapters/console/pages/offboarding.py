"""Offboarding: the preview, the form that requires typing the name, receipts, scheduled offboardings, and erasure."""

from typing import Annotated, Any

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit, on_refusal
from app.adapters.console.display import link
from app.adapters.console.forms import Form, Problems, validate
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.principals import IDENTITIES, PAGE_SIZE, confirmation_text, search_person
from app.db.change import Change
from app.domain.errors import Invalid
from app.features.identities import service as identities
from app.features.identities.schemas import IdentityView
from app.features.offboarding import schedule, schemas
from app.features.offboarding.erase import erase_identity
from app.features.offboarding.offboard import OffboardOutcome
from app.features.offboarding.receipts import find_receipt, list_receipts
from app.http.authorization import Permission
from app.http.etags import Precondition
from app.lib import ids
from app.models.identities import Identity

router = APIRouter(include_in_schema=False, route_class=PageRoute)
Offboarder = Annotated[PageContext, may_open(Permission.IDENTITIES_OFFBOARD)]
Eraser = Annotated[PageContext, may_open(Permission.IDENTITIES_ERASE)]
RECEIPTS = "/console/offboarding-receipts"
_PREVIEW = "a preview"
_NAMED = 20
SCHEDULED = "/console/scheduled-offboardings"
Reader = Annotated[PageContext, may_open(Permission.IDENTITIES_READ)]
_DONE = {"cancelled": "The scheduled offboarding was cancelled."}
# The page shows at most this many entries of each list; the signed receipt has all.
_LISTED = 200
_ACTORS = {
    "identity": ids.IDENTITY,
    "administrator": ids.ADMINISTRATOR,
    "service_account": ids.SERVICE_ACCOUNT,
}
Offboarding = Annotated[Submission, may_submit(Permission.IDENTITIES_OFFBOARD)]
Erasure = Annotated[Submission, may_submit(Permission.IDENTITIES_ERASE)]


@router.get(IDENTITIES + "/{identity_id}/offboard", operation_id="page_offboard_identity")
async def show_offboard(context: Offboarder, identity_id: ids.IdentityId) -> Response:
    """Show a preview of what ends, and the form."""
    it = await identities.show_identity(context.session, identity_id)
    heir, refused = context.typed.text("transfer_agents_to"), context.problems
    context.problems = Problems()
    async with context.attempt():
        outcome = await _preview(context, it, heir)
    if context.problems:
        # Shows the error of an invalid recipient together with the preview without a transfer.
        outcome, heir = await _preview(context, it, ""), ""
    context.problems = refused or context.problems
    if outcome.receipt_id is not None:
        return redirect(f"{RECEIPTS}/{ids.format_id(ids.EVENT, outcome.receipt_id)}")
    shown: dict[str, Any] = {"outcome": outcome, "most_calls": schemas.MAX_CALLS, "named": _NAMED}
    search = await search_person(context, "transfer_agents_to", but=it.id)
    shown["confirmation_text"] = confirmation_text(it)
    return await context.page("offboarding/offboard.html", it=it, heir=heir, search=search, **shown)


@router.post(IDENTITIES + "/{identity_id}/offboard", operation_id="page_do_offboard_identity")
@on_refusal(show_offboard)
async def offboard(sent: Offboarding, identity_id: ids.IdentityId) -> Response:
    """Offboard now or schedule it, if the name was typed."""
    body = validate(schemas.OffboardRequest, _asked(sent.form))
    check_name(sent.form, await identities.find_identity(sent.session, identity_id))
    outcome = await schedule.offboard_or_schedule(
        sent.change, identity_id, body, sent.shown, signer=sent.runtime.signer
    )
    if outcome.receipt_id is not None:
        return redirect(f"{RECEIPTS}/{ids.format_id(ids.EVENT, outcome.receipt_id)}")
    return redirect(f"{link('identity', identity_id)}?done=scheduled")


@router.get(IDENTITIES + "/{identity_id}/erase", operation_id="page_erase_identity")
async def show_erase(context: Eraser, identity_id: ids.IdentityId) -> Response:
    """Show what is erased, and the form."""
    it = await identities.show_identity(context.session, identity_id)
    return await context.page("offboarding/erase.html", it=it, confirmation_text=confirmation_text(it))


@router.post(IDENTITIES + "/{identity_id}/erase", operation_id="page_do_erase_identity")
@on_refusal(show_erase)
async def erase(sent: Erasure, identity_id: ids.IdentityId) -> Response:
    """Erase the personal data, if the name was typed."""
    check_name(sent.form, await identities.find_identity(sent.session, identity_id))
    await erase_identity(sent.change, identity_id, sent.shown)
    return redirect(f"{IDENTITIES}?done=erased")


def check_name(form: Form, identity: Identity) -> None:
    """Raise ``Invalid`` unless the name was typed, which prevents accidents."""
    if form.text("confirm") != confirmation_text(identity):
        raise Invalid.field("/confirm", "not_the_name", "Type the name exactly as it is shown.")


async def _preview(context: PageContext, it: IdentityView, heir: str) -> OffboardOutcome:
    """The dry run of an offboarding. Raises ``Invalid`` if the agents cannot be transferred to ``heir``."""
    body = validate(schemas.OffboardRequest, {"reason": _PREVIEW, "transfer_agents_to": heir or None})
    preview = Change(context.session, context.caller, None, context.now)
    return await schedule.offboard_or_schedule(
        preview, it.id, body, Precondition(None), signer=context.runtime.signer, dry_run=True
    )


def _asked(form: Form) -> dict[str, Any]:
    """The form's fields by the API's names."""
    at = form.text("effective_at") if form.text("when") == "later" else ""
    if form.text("when") == "later" and not at:
        raise Invalid.field("/effective_at", "required", "Choose a time, or choose now.")
    return {
        "reason": form.text("reason"),
        "transfer_agents_to": form.text("transfer_agents_to") or None,
        # A browser's datetime field has no time zone; the page labels it as UTC.
        "effective_at": f"{at}Z" if at else None,
    }


@router.get(RECEIPTS, operation_id="page_list_receipts")
async def show_receipts(context: Reader) -> Response:
    """List receipts, newest first."""
    query = context.query(schemas.ReceiptQuery, limit=PAGE_SIZE)
    found = await list_receipts(context.session, query, context.runtime)
    names = await context.names(*(one.identity_id for one in found.items))
    return await context.page("offboarding/receipts.html", found, names=names)


@router.get(RECEIPTS + "/{receipt_id}", operation_id="page_show_receipt")
async def show_receipt(context: Reader, receipt_id: ids.EventId) -> Response:
    """Show a receipt for printing and keeping."""
    it = schemas.ReceiptView.from_row(await find_receipt(context.session, receipt_id))
    keys, by = f"{context.runtime.public_url}/.well-known/jwks.json", None
    if it.receipt is not None and it.receipt.by.type in _ACTORS and it.receipt.by.id is not None:
        by = ids.parse_id(_ACTORS[it.receipt.by.type], it.receipt.by.id)
    names = await context.names(it, by, first=_LISTED)
    return await context.page(
        "offboarding/receipt.html", it=it, receipt=it.receipt, listed=_LISTED, names=names, by=by, keys=keys
    )


@router.get(SCHEDULED, operation_id="page_list_scheduled")
async def show_scheduled(context: Reader) -> Response:
    """List scheduled and past offboardings, newest first."""
    query = context.query(schemas.ScheduledOffboardingQuery, limit=PAGE_SIZE)
    found = await schedule.list_schedules(context.session, query, context.runtime)
    return await context.page("offboarding/scheduled.html", found, query=query, done=_DONE)


@router.get(SCHEDULED + "/{scheduled_id}/cancel", operation_id="page_cancel_scheduled")
async def show_cancel(context: Offboarder, scheduled_id: ids.ScheduledOffboardingId) -> Response:
    """Show what cancelling means, and the form."""
    it = schemas.ScheduledOffboardingView.from_row(
        await schedule.find_schedule(context.session, scheduled_id)
    )
    return await context.page("offboarding/cancel.html", it=it)


@router.post(SCHEDULED + "/{scheduled_id}/cancel", operation_id="page_do_cancel_scheduled")
@on_refusal(show_cancel)
async def cancel(sent: Offboarding, scheduled_id: ids.ScheduledOffboardingId) -> Response:
    """Cancel a scheduled offboarding."""
    await schedule.cancel_schedule(sent.change, scheduled_id, sent.shown)
    return redirect(f"{SCHEDULED}?done=cancelled")
