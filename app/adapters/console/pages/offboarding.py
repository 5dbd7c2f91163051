"""Offboarding on pages: what would end, who has the agents from then on, when; typing the name before it is done."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import AsShown, Form, Problems, attempted, validated
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.people import IDENTITIES, called, search_person, to_type
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.domain.errors import Invalid
from app.features.audit.names import names_of
from app.features.identities import routes as identities
from app.features.identities.erase import erase_identity
from app.features.identities.offboard import Offboarded
from app.features.identities.schedule import offboard_when_asked
from app.features.identities.schemas import MOST_CALLS, IdentityView, OffboardRequest
from app.features.identities.service import find_identity, lock_found_identity
from app.http.authorization import Permission
from app.http.etags import Precondition
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import EVENT, IDENTITY, IdentityId, format_id
from app.models.identities import Identity

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Offboarder = Annotated[Viewer, signed_in(Permission.IDENTITIES_OFFBOARD)]
Eraser = Annotated[Viewer, signed_in(Permission.IDENTITIES_ERASE)]
RECEIPTS = "/console/offboarding-receipts"
_PREVIEW = "a preview"
_NAMED = 20


@router.get(IDENTITIES + "/{identity_id}/offboard", operation_id="page_offboard_identity")
async def show_offboard(
    request: Request, identity_id: IdentityId, viewer: Offboarder, session: Session, runtime: CurrentRuntime
) -> Response:
    """What would end, and the form that ends it."""
    return await _show(request, viewer, session, runtime, identity_id)


@router.post(IDENTITIES + "/{identity_id}/offboard", operation_id="page_do_offboard_identity")
async def offboard(
    request: Request,
    identity_id: IdentityId,
    sent: Annotated[Submission, submitted(Permission.IDENTITIES_OFFBOARD)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """End everything now or at a time, once the name was typed."""
    form = sent.form
    async with attempted(session) as attempt:
        body = validated(OffboardRequest, _asked(form))
        check_name(form, await find_identity(session, identity_id))
        shown = AsShown.by(form)
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
    """What is erased, and the form that does it."""
    it = await identities.get_identity(identity_id, session, Response())
    return _show_erase(request, viewer, it, Problems())


@router.post(IDENTITIES + "/{identity_id}/erase", operation_id="page_do_erase_identity")
async def erase(
    request: Request,
    identity_id: IdentityId,
    sent: Annotated[Submission, submitted(Permission.IDENTITIES_ERASE)],
    session: Session,
) -> Response:
    """Erase the personal data, once the name was typed."""
    it = await identities.get_identity(identity_id, session, Response())
    async with attempted(session) as attempt:
        row = await lock_found_identity(session, identity_id)
        AsShown.by(sent.form).check(row.revision)
        check_name(sent.form, row)
        await erase_identity(session, sent.viewer.caller, row, request.state.request_id)
    if attempt.problems:
        return _show_erase(request, sent.viewer, it, attempt.problems)
    return redirect(f"{IDENTITIES}?done=erased")


def check_name(form: Form, identity: Identity) -> None:
    """Raise ``Invalid`` unless the name was typed: nothing large happens by a slip."""
    if form.text("confirm") != to_type(identity):
        raise Invalid.field("/confirm", "not_the_name", "Type it exactly as it is shown.")


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
    async with attempted(session) as attempt:
        outcome = await _preview(viewer, session, runtime, it, heir)
    if attempt.problems:
        # Of whom cannot have the agents: said, and what ends without them.
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
        who=called(it), to_type=to_type(it), typed=typed or Form(), outcome=outcome, heir=heir, most_calls=MOST_CALLS,
        named=_NAMED,
        names=await names_of(session, _named_in(outcome)),
        search=await search_person(request, session, runtime, "transfer_agents_to", but=it.id),
    )  # fmt: skip


async def _preview(
    viewer: Viewer, session: AsyncSession, runtime: Runtime, it: IdentityView, heir: str
) -> Offboarded:
    """The dry run: the same checks, and nothing is changed. Raises ``Invalid`` for who cannot have the agents."""
    body = validated(OffboardRequest, {"reason": _PREVIEW, "transfer_agents_to": heir or None})
    return await offboard_when_asked(
        session, viewer.caller, it.id, body, Precondition(None),
        signer=runtime.signer, dry_run=True, request_id=None,
    )  # fmt: skip


def _asked(form: Form) -> dict[str, Any]:
    """What the form asks for, by the names of the API."""
    at = form.text("effective_at") if form.text("when") == "later" else ""
    if form.text("when") == "later" and not at:
        raise Invalid.field("/effective_at", "required", "Say when, or choose now.")
    return {
        "reason": form.text("reason"),
        "transfer_agents_to": form.text("transfer_agents_to") or None,
        # Browsers leave the zone out of what is typed; the page says that it is UTC.
        "effective_at": f"{at}Z" if at else None,
    }


def _named_in(outcome: Offboarded) -> list[UUID]:
    """Of what is listed, the first few: the page counts the others."""
    lists = [outcome.things.agents, outcome.transferred.agents]
    if outcome.preview is not None:
        lists += [outcome.preview.groups, outcome.preview.service_accounts]
    heir = [] if outcome.transferred.to is None else [outcome.transferred.to]
    return heir + [id for ids in lists for id in ids[:_NAMED]]


def _show_erase(request: Request, viewer: Viewer, it: IdentityView, problems: Problems) -> Response:
    return page(
        request, "offboarding/erase.html", viewer=viewer, status=problems.status, problems=problems, it=it,
        who=called(it), to_type=to_type(it),
    )  # fmt: skip
