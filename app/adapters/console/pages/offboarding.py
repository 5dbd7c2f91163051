"""Offboarding: the preview, the form that requires typing the name, receipts, scheduled offboardings, and erasure."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.display import format_name, link
from app.adapters.console.forms import Form, Problems, validate
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.principals import IDENTITIES, PAGE_SIZE, confirmation_text, search_person
from app.db.change import Change
from app.domain.errors import Invalid
from app.features.identities import schemas
from app.features.identities import service as identities
from app.features.identities.erase import erase_identity
from app.features.identities.offboard import OffboardOutcome
from app.features.identities.receipts import find_receipt, list_receipts
from app.features.identities.schedule import (
    cancel_schedule,
    find_schedule,
    list_schedules,
    offboard_or_schedule,
)
from app.http.authorization import Permission
from app.http.etags import Precondition
from app.lib.ids import (
    ADMINISTRATOR,
    EVENT,
    IDENTITY,
    SERVICE_ACCOUNT,
    EventId,
    IdentityId,
    ScheduledOffboardingId,
    format_id,
    parse_id,
)
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
_ACTORS = {"identity": IDENTITY, "administrator": ADMINISTRATOR, "service_account": SERVICE_ACCOUNT}
Offboarding = Annotated[Submission, may_submit(Permission.IDENTITIES_OFFBOARD)]
Erasure = Annotated[Submission, may_submit(Permission.IDENTITIES_ERASE)]


@router.get(IDENTITIES + "/{identity_id}/offboard", operation_id="page_offboard_identity")
async def show_offboard(context: Offboarder, identity_id: IdentityId) -> Response:
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
        return redirect(f"{RECEIPTS}/{format_id(EVENT, outcome.receipt_id)}")
    return context.page(
        "offboarding/offboard.html", it=it,
        who=format_name(it), confirmation_text=confirmation_text(it), typed=context.form, outcome=outcome,
        heir=heir, most_calls=schemas.MAX_CALLS, named=_NAMED,
        names=await context.names(_named_in(outcome)),
        search=await search_person(context, "transfer_agents_to", but=it.id),
    )  # fmt: skip


@router.post(IDENTITIES + "/{identity_id}/offboard", operation_id="page_do_offboard_identity")
async def offboard(sent: Offboarding, identity_id: IdentityId) -> Response:
    """Offboard now or schedule it, if the name was typed."""
    async with sent.attempt():
        body = validate(schemas.OffboardRequest, _asked(sent.form))
        check_name(sent.form, await identities.find_identity(sent.session, identity_id))
        outcome = await offboard_or_schedule(
            sent.change, identity_id, body, sent.shown, signer=sent.runtime.signer
        )
    if sent.problems:
        return await show_offboard(sent, identity_id)
    if outcome.receipt_id is not None:
        return redirect(f"{RECEIPTS}/{format_id(EVENT, outcome.receipt_id)}")
    return redirect(f"{link('identity', identity_id)}?done=scheduled")


@router.get(IDENTITIES + "/{identity_id}/erase", operation_id="page_erase_identity")
async def show_erase(context: Eraser, identity_id: IdentityId) -> Response:
    """Show what is erased, and the form."""
    it = await identities.show_identity(context.session, identity_id)
    return context.page(
        "offboarding/erase.html", it=it, who=format_name(it), confirmation_text=confirmation_text(it)
    )


@router.post(IDENTITIES + "/{identity_id}/erase", operation_id="page_do_erase_identity")
async def erase(sent: Erasure, identity_id: IdentityId) -> Response:
    """Erase the personal data, if the name was typed."""
    async with sent.attempt():
        check_name(sent.form, await identities.find_identity(sent.session, identity_id))
        await erase_identity(sent.change, identity_id, sent.shown)
    if sent.problems:
        return await show_erase(sent, identity_id)
    return redirect(f"{IDENTITIES}?done=erased")


def check_name(form: Form, identity: Identity) -> None:
    """Raise ``Invalid`` unless the name was typed, which prevents accidents."""
    if form.text("confirm") != confirmation_text(identity):
        raise Invalid.field("/confirm", "not_the_name", "Type the name exactly as it is shown.")


async def _preview(context: PageContext, it: schemas.IdentityView, heir: str) -> OffboardOutcome:
    """The dry run of an offboarding. Raises ``Invalid`` if the agents cannot be transferred to ``heir``."""
    body = validate(schemas.OffboardRequest, {"reason": _PREVIEW, "transfer_agents_to": heir or None})
    preview = Change(context.session, context.caller, None, context.runtime.clock())
    return await offboard_or_schedule(
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


def _named_in(outcome: OffboardOutcome) -> list[UUID]:
    """The ids whose names the page shows; it only counts the remaining ones."""
    lists = [outcome.things.agents, outcome.transferred.agents]
    if outcome.preview is not None:
        lists += [outcome.preview.groups, outcome.preview.service_accounts]
    heir = [] if outcome.transferred.to is None else [outcome.transferred.to]
    return heir + [id for ids in lists for id in ids[:_NAMED]]


@router.get(RECEIPTS, operation_id="page_list_receipts")
async def show_receipts(context: Reader) -> Response:
    """List receipts, newest first."""
    query = context.query(schemas.ReceiptQuery, limit=PAGE_SIZE)
    found = await list_receipts(context.session, query, context.runtime)
    return context.page(
        "offboarding/receipts.html", items=found.items,
        names=await context.names([one.identity_id for one in found.items]),
        **context.pager(found.next_cursor),
    )  # fmt: skip


@router.get(RECEIPTS + "/{receipt_id}", operation_id="page_show_receipt")
async def show_receipt(context: Reader, receipt_id: EventId) -> Response:
    """Show a receipt for printing and keeping."""
    it = schemas.ReceiptView.from_row(await find_receipt(context.session, receipt_id))
    ids = [it.identity_id] if it.receipt is None else [it.identity_id, *_ids_in_receipt(it.receipt)]
    return context.page(
        "offboarding/receipt.html", it=it, receipt=it.receipt, listed=_LISTED,
        names=await context.names(ids), by=None if it.receipt is None else _actor(it.receipt),
        keys=f"{context.runtime.public_url}/.well-known/jwks.json",
    )  # fmt: skip


@router.get(SCHEDULED, operation_id="page_list_scheduled")
async def show_scheduled(context: Reader) -> Response:
    """List scheduled and past offboardings, newest first."""
    query = context.query(schemas.ScheduledOffboardingQuery, limit=PAGE_SIZE)
    found = await list_schedules(context.session, query, context.runtime)
    people = [id for one in found.items for id in (one.identity_id, one.transfer_agents_to)]
    return context.page(
        "offboarding/scheduled.html", items=found.items, query=query,
        names=await context.names([*people, *query.identity_id]),
        done=_DONE, **context.pager(found.next_cursor),
    )  # fmt: skip


@router.get(SCHEDULED + "/{scheduled_id}/cancel", operation_id="page_cancel_scheduled")
async def show_cancel(context: Offboarder, scheduled_id: ScheduledOffboardingId) -> Response:
    """Show what cancelling means, and the form."""
    it = schemas.ScheduledOffboardingView.from_row(await find_schedule(context.session, scheduled_id))
    names = await context.names([it.identity_id])
    return context.page("offboarding/cancel.html", it=it, names=names)


@router.post(SCHEDULED + "/{scheduled_id}/cancel", operation_id="page_do_cancel_scheduled")
async def cancel(sent: Offboarding, scheduled_id: ScheduledOffboardingId) -> Response:
    """Cancel a scheduled offboarding."""
    async with sent.attempt():
        await cancel_schedule(sent.change, scheduled_id, sent.shown)
    if sent.problems:
        return await show_cancel(sent, scheduled_id)
    return redirect(f"{SCHEDULED}?done=cancelled")


def _ids_in_receipt(receipt: schemas.Receipt) -> list[UUID | None]:
    """The ids whose current names the page shows next to the signed content."""
    agents = receipt.agents
    return [
        *(token.identity_id for token in receipt.tokens[:_LISTED]),
        *(token.id for token in receipt.tokens[:_LISTED]),
        *agents.suspended[:_LISTED],
        *agents.transferred[:_LISTED],
        *receipt.groups[:_LISTED],
        *receipt.service_accounts[:_LISTED],
        agents.transferred_to,
        agents.heir_not_active,
        receipt.by.on_behalf_of,
        _actor(receipt),
    ]


def _actor(receipt: schemas.Receipt) -> UUID | None:
    """The id of the actor who requested the offboarding, if it has a name."""
    prefix = _ACTORS.get(receipt.by.type)
    return None if prefix is None or receipt.by.id is None else parse_id(prefix, receipt.by.id)
