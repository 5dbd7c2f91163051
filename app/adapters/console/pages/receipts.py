"""What offboardings left: receipts to print and keep; and what is planned, with the way to take it back."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import AsShown, Problems, attempted, first_page, next_page, read_query
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.offboarding import RECEIPTS
from app.adapters.console.pages.people import PAGE_SIZE
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.features.audit.names import names_of
from app.features.identities import receipt_routes as receipts
from app.features.identities import schedule_routes as schedules
from app.features.identities.schedule import cancel_scheduled
from app.features.identities.schemas import Receipt, ReceiptQuery, ScheduledOffboardingQuery
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session
from app.lib.ids import ADMINISTRATOR, IDENTITY, SERVICE_ACCOUNT, EventId, ScheduledOffboardingId, parse_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)

SCHEDULED = "/console/scheduled-offboardings"
Reader = Annotated[Viewer, signed_in(Permission.IDENTITIES_READ)]
_DONE = {"cancelled": "It is cancelled: nothing will end at that time."}
# More on paper is read by nobody; the signed text has all of it.
_LISTED = 200
_ACTORS = {"identity": IDENTITY, "administrator": ADMINISTRATOR, "service_account": SERVICE_ACCOUNT}


@router.get(RECEIPTS, operation_id="page_list_receipts")
async def show_receipts(
    request: Request, viewer: Reader, session: Session, runtime: CurrentRuntime
) -> Response:
    """Receipts, newest first."""
    query = read_query(ReceiptQuery, request, limit=PAGE_SIZE)
    found = await receipts.list_offboarding_receipts(query, session, runtime)
    return page(
        request, "offboarding/receipts.html", viewer=viewer, items=found.items,
        names=await names_of(session, [one.identity_id for one in found.items]),
        is_filtered=bool(query.identity_id), more=next_page(request, found.next_cursor), first=first_page(request),
    )  # fmt: skip


@router.get(RECEIPTS + "/{receipt_id}", operation_id="page_show_receipt")
async def show_receipt(
    request: Request, receipt_id: EventId, viewer: Reader, session: Session, runtime: CurrentRuntime
) -> Response:
    """One receipt, to print and to keep."""
    it = await receipts.get_offboarding_receipt(receipt_id, session)
    ids = [it.identity_id] if it.receipt is None else [it.identity_id, *_named_in(it.receipt)]
    return page(
        request, "offboarding/receipt.html", viewer=viewer, it=it, receipt=it.receipt, listed=_LISTED,
        names=await names_of(session, ids), by=None if it.receipt is None else _actor(it.receipt),
        keys=f"{runtime.public_url}/.well-known/jwks.json",
    )  # fmt: skip


@router.get(SCHEDULED, operation_id="page_list_scheduled")
async def show_scheduled(
    request: Request, viewer: Reader, session: Session, runtime: CurrentRuntime
) -> Response:
    """What is planned and what was, newest first."""
    query = read_query(ScheduledOffboardingQuery, request, limit=PAGE_SIZE)
    found = await schedules.list_scheduled_offboardings(query, session, runtime)
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
    viewer: Annotated[Viewer, signed_in(Permission.IDENTITIES_OFFBOARD)],
    session: Session,
) -> Response:
    """What would not happen any more."""
    return await _show_cancel(request, viewer, session, scheduled_id, Problems())


@router.post(SCHEDULED + "/{scheduled_id}/cancel", operation_id="page_do_cancel_scheduled")
async def cancel(
    request: Request,
    scheduled_id: ScheduledOffboardingId,
    sent: Annotated[Submission, submitted(Permission.IDENTITIES_OFFBOARD)],
    session: Session,
) -> Response:
    """Take one back."""
    async with attempted(session) as attempt:
        shown = AsShown.by(sent.form)
        await cancel_scheduled(session, sent.viewer.caller, scheduled_id, shown, request.state.request_id)
    if attempt.problems:
        return await _show_cancel(request, sent.viewer, session, scheduled_id, attempt.problems)
    return redirect(f"{SCHEDULED}?done=cancelled")


async def _show_cancel(
    request: Request, viewer: Viewer, session: AsyncSession, id: UUID, problems: Problems
) -> Response:
    it = await schedules.get_scheduled_offboarding(id, session, Response())
    return page(
        request, "offboarding/cancel.html", viewer=viewer, status=problems.status, problems=problems, it=it,
        names=await names_of(session, [it.identity_id]),
    )  # fmt: skip


def _named_in(receipt: Receipt) -> list[UUID | None]:
    """Whose present names the page shows beside what is signed."""
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
    """Who asked for it, where it is somebody with a name."""
    prefix = _ACTORS.get(receipt.by.type)
    return None if prefix is None or receipt.by.id is None else parse_id(prefix, receipt.by.id)
