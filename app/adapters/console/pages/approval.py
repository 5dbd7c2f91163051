"""One approval: what is asked for with all that there is to know, and the forms that decide it or take it back."""

import asyncio
import json
from datetime import UTC, date, datetime, time
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import AsShown, Form, Problems, attempted, validated
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.approval_words import explanation, gravest, headline, rows_of, who_asks
from app.adapters.console.pages.approvals import HOME, Reader
from app.adapters.console.pages.grant_words import words_of_tools
from app.adapters.console.signed_in import Submission, Viewer, submitted
from app.adapters.console.visible import visible
from app.domain.errors import Invalid, NotFound, Unavailable
from app.features.approvals import approve_access as approving
from app.features.approvals.ask import require_requestable, selected, tools_of, withdraw_request
from app.features.approvals.decide import deny_approval, require_approval
from app.features.approvals.routes import list_approvals
from app.features.approvals.schemas import (
    ApprovalAgreement,
    ApprovalDecision,
    ApprovalQuery,
    ApprovalView,
    RequestableTool,
)
from app.features.approvals.views import may_read_arguments, read_arguments, show_approval
from app.features.me.routes import list_own_tokens
from app.features.tokens.schemas import TokenQuery, TokenStatus, TokenView
from app.http.authorization import Permission
from app.http.pagination import MAXIMUM_LIMIT
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import APPROVAL, ApprovalId, format_id
from app.models.approvals import Approval

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_ONE = f"{HOME}/{{approval_id}}"
# More than is read at a glance.
_LONG = 2_000
_EARLIER = 8
# Each of some hundred tools may be ticked, by its name.
_LARGEST = 256 * 1024
Decision = Annotated[Submission, submitted(Permission.SELF_READ, largest=_LARGEST)]


@router.get(_ONE, operation_id="page_show_approval")
async def show_page(
    request: Request, approval_id: ApprovalId, viewer: Reader, session: Session, runtime: CurrentRuntime
) -> Response:
    """What is asked for, and the form that decides it."""
    return await _show(request, viewer, session, runtime, approval_id)


@router.post(f"{_ONE}/approve", operation_id="page_approve")
async def approve(
    request: Request, approval_id: ApprovalId, sent: Decision, session: Session, runtime: CurrentRuntime
) -> Response:
    """Let a call through, once, or give access: as it was asked for, or less of it."""
    async with attempted(session) as attempt:
        body = validated(ApprovalAgreement, _agreement(sent.form))
        await approving.approve(
            session, sent.viewer.caller, approval_id, body, AsShown.by(sent.form),
            ttl=runtime.approval_ttl, now=runtime.clock(), request_id=request.state.request_id,
        )  # fmt: skip
    if attempt.problems:
        return await _show(request, sent.viewer, session, runtime, approval_id, attempt.problems, sent.form)
    return redirect(f"{HOME}/{format_id(APPROVAL, approval_id)}")


@router.post(f"{_ONE}/deny", operation_id="page_deny")
async def deny(
    request: Request, approval_id: ApprovalId, sent: Decision, session: Session, runtime: CurrentRuntime
) -> Response:
    """Refuse it."""
    async with attempted(session) as attempt:
        body = validated(ApprovalDecision, {"reason": sent.form.text("reason") or None})
        await deny_approval(
            session, sent.viewer.caller, approval_id, body.reason, AsShown.by(sent.form),
            request_id=request.state.request_id,
        )  # fmt: skip
    if attempt.problems:
        return await _show(request, sent.viewer, session, runtime, approval_id, attempt.problems, sent.form)
    return redirect(f"{HOME}/{format_id(APPROVAL, approval_id)}")


@router.post(f"{_ONE}/withdraw", operation_id="page_withdraw_request")
async def withdraw(
    request: Request,
    approval_id: ApprovalId,
    sent: Annotated[Submission, submitted(Permission.SELF_WRITE)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """Take back what one asked for oneself."""
    async with attempted(session) as attempt:
        await withdraw_request(
            session, sent.viewer.caller, approval_id, AsShown.by(sent.form), request.state.request_id
        )
    if attempt.problems:
        return await _show(request, sent.viewer, session, runtime, approval_id, attempt.problems, sent.form)
    return redirect(f"{HOME}/{format_id(APPROVAL, approval_id)}")


def _agreement(form: Form) -> dict[str, Any]:
    """What the form agrees to: all, by the one button, or by the other what is ticked, until the day that is given.

    Raises ``Invalid`` for what is no day.
    """
    agreed: dict[str, Any] = {"reason": form.text("reason") or None}
    if form.text("give") != "less":
        return agreed
    less: dict[str, Any] = {"tools": {"kind": "names", "names": form.texts("tool")}}
    until = form.text("until")
    # The day that was asked for is all of what was asked for, to the minute.
    if until and until != form.text("asked_until"):
        try:
            less["expires_at"] = datetime.combine(date.fromisoformat(until), time(23, 59), UTC)
        except ValueError:
            raise Invalid.field("/access/expires_at", "date", "Choose a day.") from None
    return agreed | {"access": less}


async def _show(
    request: Request,
    viewer: Viewer,
    session: AsyncSession,
    runtime: Runtime,
    approval_id: ApprovalId,
    problems: Problems | None = None,
    typed: Form | None = None,
) -> Response:
    problems, typed = problems or Problems(), typed or Form()
    row = await require_approval(session, viewer.caller, approval_id)
    view = await show_approval(session, viewer.caller, row, runtime.public_url)
    mine = viewer.caller.identity_id in {view.identity.id, view.owner and view.owner.id}
    values: dict[str, Any] = {"arguments": None, "access": None}
    if view.access is None:
        values["arguments"] = await _arguments(session, runtime, viewer, row, request.state.request_id)
    else:
        values["access"] = await _access(session, viewer, view, typed)
    values["tokens"] = await _own_tokens(session, runtime, viewer, view) if mine else []
    return page(
        request,
        "approvals/show.html",
        viewer=viewer,
        status=problems.status,
        it=view,
        what=headline(view),
        who=who_asks(view),
        explanation=explanation(view, mine=mine),
        mine=mine,
        earlier=await _earlier(session, runtime, viewer, view),
        problems=problems,
        reason=typed.raw("reason"),
        public_url=runtime.public_url,
        **values,
    )


async def _own_tokens(
    session: AsyncSession, runtime: Runtime, viewer: Viewer, view: ApprovalView
) -> list[TokenView]:
    """The live tokens of the receiver whose scope is all of the grants, and so reach this access too."""
    if view.access is None or view.access.granted is None:
        return []
    query = TokenQuery(identity_id=[view.identity.id], status=[TokenStatus.ACTIVE], limit=MAXIMUM_LIMIT)
    found = (await list_own_tokens(query, viewer.caller, session, runtime)).items
    return [one for one in found if one.scope.kind == "grants" and one.parent_id is None]


async def _access(session: AsyncSession, viewer: Viewer, view: ApprovalView, typed: Form) -> dict[str, Any]:
    """What of a request for access its page shows beside the approval: its tools as they are now, and the form's
    state."""
    assert view.access is not None  # noqa: S101  # Whoever calls has looked.
    known = None if view.server is None else await _known_tools(session, viewer, view, view.server.id)
    tools = selected(known or [], view.access.tools)
    less = typed.text("give") == "less"
    by_name = view.access.tools.kind == "names"
    asked_until = f"{view.access.expires_at:%Y-%m-%d}"
    return {
        "words": words_of_tools(view.access.tools),
        "tools": tools,
        "shows_tools": known is not None,
        "risk": gravest([tool.risk for tool in tools]),
        "gone": sorted(set(getattr(view.access.tools, "names", [])) - {tool.name for tool in tools}),
        "given": None if view.access.granted is None else words_of_tools(view.access.granted.tools),
        "less": less,
        # What was named can be ticked off; of everything, or of a risk, what is to be given is ticked.
        "ticked": set(typed.texts("tool")) if less else {tool.name for tool in tools if by_name},
        "until": typed.text("until") if less else asked_until,
        "asked_until": asked_until,
    }


async def _known_tools(
    session: AsyncSession, viewer: Viewer, view: ApprovalView, server_id: UUID
) -> list[RequestableTool] | None:
    """The tools that the server has now; None for who only asked, once it cannot be asked for any more."""
    if view.may_decide or viewer.may(Permission.TOOLS_READ):
        return (await tools_of(session, [server_id])).get(server_id, [])
    try:
        return (await require_requestable(session, server_id)).tools
    except NotFound:
        return None


async def _earlier(session: AsyncSession, runtime: Runtime, viewer: Viewer, view: ApprovalView) -> list[Any]:
    """What the same identity asked for besides, as far as the viewer may know of it."""
    query = ApprovalQuery(identity_id=[view.identity.id], limit=_EARLIER + 1)
    found = await list_approvals(query, viewer.caller, session, runtime)
    return await rows_of(session, [one for one in found.items if one.id != view.id][:_EARLIER])


async def _arguments(
    session: AsyncSession, runtime: Runtime, viewer: Viewer, row: Approval, request_id: str | None
) -> dict[str, Any]:
    """The arguments as text, or why they are not shown. That they were looked at is on record."""
    shown: dict[str, Any] = {"text": None, "length": 0, "why": None}
    if not await may_read_arguments(session, viewer.caller, row):
        return shown | {"why": "You may not see them: whoever decides does, while it waits."}
    try:
        kept, values = await read_arguments(session, viewer.caller, row, runtime.sealer, request_id)
    except Unavailable as unavailable:
        return shown | {"why": unavailable.detail}
    if not kept:
        return shown | {"why": "They are not kept: the server's setting keep_arguments says so."}
    text = json.dumps(values, indent=2, ensure_ascii=False)
    # A megabyte takes its time, and others wait meanwhile.
    made = await asyncio.to_thread(visible, text) if len(text) > _LONG else visible(text)
    return shown | {"text": made, "length": len(text) if len(text) > _LONG else 0}
