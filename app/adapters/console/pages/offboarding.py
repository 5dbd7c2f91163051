"""Offboarding: the preview, the form that requires typing the name, receipts, scheduled offboardings, and erasure."""

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
from app.adapters.console.pages.principals import (
    IDENTITIES,
    PAGE_SIZE,
    confirmation_text,
    format_name,
    search_person,
)
from app.adapters.console.viewer import Submission, Viewer, require_submission, require_viewer
from app.domain.errors import Invalid
from app.features.audit.names import names_of
from app.features.identities import routes as identities
from app.features.identities.erase import erase_identity
from app.features.identities.offboard import OffboardOutcome
from app.features.identities.schedule import cancel_scheduled, offboard_when_asked
from app.features.identities.schemas import (
    MAX_CALLS,
    IdentityView,
    OffboardRequest,
    Receipt,
    ReceiptQuery,
    ScheduledOffboardingQuery,
)
from app.features.identities.service import find_identity, lock_found_identity
from app.http.authorization import Permission
from app.http.etags import Precondition
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
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


Offboarder = Annotated[Viewer, require_viewer(Permission.IDENTITIES_OFFBOARD)]
Eraser = Annotated[Viewer, require_viewer(Permission.IDENTITIES_ERASE)]
RECEIPTS = "/console/offboarding-receipts"
_PREVIEW = "a preview"
_NAMED = 20


@router.get(IDENTITIES + "/{identity_id}/offboard", operation_id="page_offboard_identity")
async def show_offboard(
    request: Request, identity_id: IdentityId, viewer: Offboarder, session: Session, runtime: CurrentRuntime
) -> Response:
    """Show a preview of what ends, and the form."""
    return await _show(request, viewer, session, runtime, identity_id)


@router.post(IDENTITIES + "/{identity_id}/offboard", operation_id="page_do_offboard_identity")
async def offboard(
    request: Request,
    identity_id: IdentityId,
    sent: Annotated[Submission, require_submission(Permission.IDENTITIES_OFFBOARD)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """Offboard now or schedule it, if the name was typed."""
    form = sent.form
    async with attempt_change(session) as attempt:
        body = validate(OffboardRequest, _asked(form))
        check_name(form, await find_identity(session, identity_id))
        shown = ShownRevision.from_form(form)
        outcome = await offboard_when_asked(
            session, sent.viewer.caller, identity_id, body, shown,
            signer=runtime.signer, dry_run=False, request_id=request.state.request_id,
        )  # fmt: skip
    if attempt.problems:
        return await _show(request, sent.viewer, session, runtime, identity_id, form, attempt.problems)
    if outcome.receipt_id is not None:
        return redirect(f"{RECEIPTS}/{format_id(EVENT, outcome.receipt_id)}")
    return redirect(f"{IDENTITIES}/{format_id(IDENTITY, identity_id)}?done=scheduled")


@router.get(IDENTITIES + "/{identity_id}/erase", operation_id="page_erase_identity")
async def show_erase(request: Request, identity_id: IdentityId, viewer: Eraser, session: Session) -> Response:
    """Show what is erased, and the form."""
    it = await identities.get_identity(identity_id, session, Response())
    return _show_erase(request, viewer, it, Problems())


@router.post(IDENTITIES + "/{identity_id}/erase", operation_id="page_do_erase_identity")
async def erase(
    request: Request,
    identity_id: IdentityId,
    sent: Annotated[Submission, require_submission(Permission.IDENTITIES_ERASE)],
    session: Session,
) -> Response:
    """Erase the personal data, if the name was typed."""
    it = await identities.get_identity(identity_id, session, Response())
    async with attempt_change(session) as attempt:
        row = await lock_found_identity(session, identity_id)
        ShownRevision.from_form(sent.form).check(row.revision)
        check_name(sent.form, row)
        await erase_identity(session, sent.viewer.caller, row, request.state.request_id)
    if attempt.problems:
        return _show_erase(request, sent.viewer, it, attempt.problems)
    return redirect(f"{IDENTITIES}?done=erased")


def check_name(form: Form, identity: Identity) -> None:
    """Raise ``Invalid`` unless the name was typed, which prevents accidents."""
    if form.text("confirm") != confirmation_text(identity):
        raise Invalid.field("/confirm", "not_the_name", "Type the name exactly as it is shown.")


async def _show(
    request: Request, viewer: Viewer, session: AsyncSession, runtime: Runtime, id: UUID,
    typed: Form | None = None, problems: Problems | None = None,
) -> Response:  # fmt: skip
    it = await identities.get_identity(id, session, Response())
    heir = (
        request.query_params.get("transfer_agents_to", "")
        if typed is None
        else typed.text("transfer_agents_to")
    )
    async with attempt_change(session) as attempt:
        outcome = await _preview(viewer, session, runtime, it, heir)
    if attempt.problems:
        # Shows the error of an invalid recipient together with the preview without a transfer.
        outcome, problems, heir = (
            await _preview(viewer, session, runtime, it, ""),
            problems or attempt.problems,
            "",
        )
    if outcome.receipt_id is not None:
        return redirect(f"{RECEIPTS}/{format_id(EVENT, outcome.receipt_id)}")
    problems = problems or Problems()
    return page(
        request, "offboarding/offboard.html", viewer=viewer, status=problems.status, problems=problems, it=it,
        who=format_name(it), confirmation_text=confirmation_text(it), typed=typed or Form(), outcome=outcome,
        heir=heir, most_calls=MAX_CALLS,
        named=_NAMED,
        names=await names_of(session, _named_in(outcome)),
        search=await search_person(request, session, runtime, "transfer_agents_to", but=it.id),
    )  # fmt: skip


async def _preview(
    viewer: Viewer, session: AsyncSession, runtime: Runtime, it: IdentityView, heir: str
) -> OffboardOutcome:
    """The dry run of an offboarding. Raises ``Invalid`` if the agents cannot be transferred to ``heir``."""
    body = validate(OffboardRequest, {"reason": _PREVIEW, "transfer_agents_to": heir or None})
    return await offboard_when_asked(
        session, viewer.caller, it.id, body, Precondition(None),
        signer=runtime.signer, dry_run=True, request_id=None,
    )  # fmt: skip


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


def _show_erase(request: Request, viewer: Viewer, it: IdentityView, problems: Problems) -> Response:
    return page(
        request, "offboarding/erase.html", viewer=viewer, status=problems.status, problems=problems, it=it,
        who=format_name(it), confirmation_text=confirmation_text(it),
    )  # fmt: skip


SCHEDULED = "/console/scheduled-offboardings"
Reader = Annotated[Viewer, require_viewer(Permission.IDENTITIES_READ)]
_DONE = {"cancelled": "The scheduled offboarding was cancelled."}

# The page shows at most this many entries of each list; the signed receipt has all.
_LISTED = 200
_ACTORS = {"identity": IDENTITY, "administrator": ADMINISTRATOR, "service_account": SERVICE_ACCOUNT}


@router.get(RECEIPTS, operation_id="page_list_receipts")
async def show_receipts(
    request: Request, viewer: Reader, session: Session, runtime: CurrentRuntime
) -> Response:
    """List receipts, newest first."""
    query = read_query(ReceiptQuery, request, limit=PAGE_SIZE)
    found = await identities.list_offboarding_receipts(query, session, runtime)
    return page(
        request, "offboarding/receipts.html", viewer=viewer, items=found.items,
        names=await names_of(session, [one.identity_id for one in found.items]),
        is_filtered=bool(query.identity_id), more=next_page(request, found.next_cursor), first=first_page(request),
    )  # fmt: skip


@router.get(RECEIPTS + "/{receipt_id}", operation_id="page_show_receipt")
async def show_receipt(
    request: Request, receipt_id: EventId, viewer: Reader, session: Session, runtime: CurrentRuntime
) -> Response:
    """Show a receipt for printing and keeping."""
    it = await identities.get_offboarding_receipt(receipt_id, session)
    ids = [it.identity_id] if it.receipt is None else [it.identity_id, *_ids_in_receipt(it.receipt)]
    return page(
        request, "offboarding/receipt.html", viewer=viewer, it=it, receipt=it.receipt, listed=_LISTED,
        names=await names_of(session, ids), by=None if it.receipt is None else _actor(it.receipt),
        keys=f"{runtime.public_url}/.well-known/jwks.json",
    )  # fmt: skip


@router.get(SCHEDULED, operation_id="page_list_scheduled")
async def show_scheduled(
    request: Request, viewer: Reader, session: Session, runtime: CurrentRuntime
) -> Response:
    """List scheduled and past offboardings, newest first."""
    query = read_query(ScheduledOffboardingQuery, request, limit=PAGE_SIZE)
    found = await identities.list_scheduled_offboardings(query, session, runtime)
    people = [id for one in found.items for id in (one.identity_id, one.transfer_agents_to)]
    return page(
        request, "offboarding/scheduled.html", viewer=viewer, items=found.items, query=query,
        names=await names_of(session, [*people, *query.identity_id]),
        is_filtered=bool(query.identity_id or query.status),
        more=next_page(request, found.next_cursor), first=first_page(request),
        done=_DONE.get(request.query_params.get("done", "")),
    )  # fmt: skip


@router.get(SCHEDULED + "/{scheduled_id}/cancel", operation_id="page_cancel_scheduled")
async def show_cancel(
    request: Request,
    scheduled_id: ScheduledOffboardingId,
    viewer: Annotated[Viewer, require_viewer(Permission.IDENTITIES_OFFBOARD)],
    session: Session,
) -> Response:
    """Show what cancelling means, and the form."""
    return await _show_cancel(request, viewer, session, scheduled_id, Problems())


@router.post(SCHEDULED + "/{scheduled_id}/cancel", operation_id="page_do_cancel_scheduled")
async def cancel(
    request: Request,
    scheduled_id: ScheduledOffboardingId,
    sent: Annotated[Submission, require_submission(Permission.IDENTITIES_OFFBOARD)],
    session: Session,
) -> Response:
    """Cancel a scheduled offboarding."""
    async with attempt_change(session) as attempt:
        shown = ShownRevision.from_form(sent.form)
        await cancel_scheduled(session, sent.viewer.caller, scheduled_id, shown, request.state.request_id)
    if attempt.problems:
        return await _show_cancel(request, sent.viewer, session, scheduled_id, attempt.problems)
    return redirect(f"{SCHEDULED}?done=cancelled")


async def _show_cancel(
    request: Request, viewer: Viewer, session: AsyncSession, id: UUID, problems: Problems
) -> Response:
    it = await identities.get_scheduled_offboarding(id, session, Response())
    return page(
        request, "offboarding/cancel.html", viewer=viewer, status=problems.status, problems=problems, it=it,
        names=await names_of(session, [it.identity_id]),
    )  # fmt: skip


def _ids_in_receipt(receipt: Receipt) -> list[UUID | None]:
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


def _actor(receipt: Receipt) -> UUID | None:
    """The id of the actor who requested the offboarding, if it has a name."""
    prefix = _ACTORS.get(receipt.by.type)
    return None if prefix is None or receipt.by.id is None else parse_id(prefix, receipt.by.id)
