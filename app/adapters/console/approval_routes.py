"""Approvals as pages: what waits, what one call asks for, and the two buttons."""

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from app.adapters.console.page import PageRoute, page
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.adapters.console.visible import visible
from app.domain.errors import Malformed, PreconditionFailed, Unavailable
from app.features.approvals.arguments import may_read_arguments, read_arguments
from app.features.approvals.decide import Verdict, decide_approval, require_approval
from app.features.approvals.models import Approval
from app.features.approvals.repository import select_approvals
from app.features.approvals.schemas import ApprovalDecision, ApprovalQuery, ApprovalView
from app.features.approvals.views import show_approval, show_approvals
from app.kit.authorization import Permission
from app.kit.database import Session
from app.kit.etags import Precondition
from app.kit.ids import APPROVAL, EVENT, ApprovalId, format_id
from app.kit.pagination import Cursors, read_page
from app.kit.runtime import CurrentRuntime, Runtime

HOME = "/console/approvals"
router = APIRouter(include_in_schema=False, route_class=PageRoute)

# More than is read at a glance.
_LONG = 2_000
_ERASED = "somebody who was erased"
_STATES = {
    "pending": "◷ waits for a decision",
    "approved": "✓ approved",
    "denied": "✕ denied",
    "expired": "◷ expired",
    "cancelled": "✕ ended",
    "consumed": "✓ approved and used",
}
_ENDED = {
    "approved": "It is approved: when the caller repeats the call, it runs once.",
    "denied": "It is denied, and the caller is told.",
    "expired": "It was not decided, or not used, in time. When the call is repeated, it asks for another approval.",
    "cancelled": "It ended with the token, the identity or the group that it rested on.",
    "consumed": "The call that it was for has run. It lets no other through.",
}
_VOID = {
    "token_ended": "No call can use it any more: the token that asked is revoked or expired.",
    "identity_offboarded": "No call can use it any more: whoever asked is offboarded.",
    "definition_changed": "No call can use it any more: the tool is gone, or its definition is another one.",
    "policies_changed": "No call can use it any more: a policy that asked was changed.",
}


@router.get(HOME, operation_id="show_approvals")
async def show_waiting(
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.SELF_READ)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """The approvals that wait and that the person may see, the newest first."""
    query = ApprovalQuery(state=["pending"])
    found = select_approvals(viewer.caller, query)
    cursors = Cursors(runtime.peppers.derive("cursors"), "show_approvals", query.filters())
    rows, more = await read_page(session, found, Approval, cursors, query)
    views = await show_approvals(session, viewer.caller, rows, runtime.public_url)
    return page(
        request, "approvals.html", viewer=viewer, approvals=[_card(view) for view in views], more=more
    )


@router.get(f"{HOME}/{{approval_id}}", operation_id="show_approval")
async def show_one(
    approval_id: ApprovalId,
    viewer: Annotated[Viewer, signed_in(Permission.SELF_READ)],
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
) -> Response:
    """What one call asks for, and the form that decides it."""
    row = await require_approval(session, viewer.caller, approval_id)
    view = await show_approval(session, viewer.caller, row, runtime.public_url)
    arguments = await _arguments(session, runtime, viewer, row, request.state.request_id)
    return page(request, "approval.html", viewer=viewer, it=view, arguments=arguments, **_words(view))


@router.post(f"{HOME}/{{approval_id}}/approve", operation_id="approve_on_page")
async def approve(
    approval_id: ApprovalId,
    submission: Annotated[Submission, submitted(Permission.SELF_READ)],
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
) -> Response:
    """Let the call through, once."""
    return await _decide(request, session, runtime, submission, approval_id, Verdict.APPROVED)


@router.post(f"{HOME}/{{approval_id}}/deny", operation_id="deny_on_page")
async def deny(
    approval_id: ApprovalId,
    submission: Annotated[Submission, submitted(Permission.SELF_READ)],
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
) -> Response:
    """Refuse the call."""
    return await _decide(request, session, runtime, submission, approval_id, Verdict.DENIED)


async def _decide(
    request: Request,
    session: Session,
    runtime: Runtime,
    submission: Submission,
    approval_id: ApprovalId,
    verdict: Verdict,
) -> Response:
    """By the very service of the API, of what the page showed: another revision is not what was read."""
    fields = submission.form
    try:
        decision = ApprovalDecision(reason=fields.text("reason") or None)
    except ValidationError:
        raise Malformed("A reason has at most 500 characters.") from None
    shown = Precondition(f'"{fields.text("revision")}"')
    try:
        await decide_approval(
            session, submission.viewer.caller, approval_id, verdict, decision.reason, shown,
            ttl=runtime.approval_ttl, request_id=request.state.request_id,
        )  # fmt: skip
    except PreconditionFailed:
        raise PreconditionFailed(
            "It has changed since this page was shown, perhaps by a decision: look at it again."
        ) from None
    return RedirectResponse(f"{HOME}/{format_id(APPROVAL, approval_id)}", 303)


async def _arguments(
    session: Session, runtime: Runtime, viewer: Viewer, row: Approval, request_id: str | None
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


def _card(view: ApprovalView) -> dict[str, Any]:
    """One of the list."""
    words = _words(view)
    risk = None if view.tool is None else view.tool.risk
    return {
        "id": words["id"],
        "tool": words["tool"],
        "server": words["server"],
        "who": words["who"],
        "risk": None if risk is None else risk.value,
        "expires_at": view.expires_at,
        "may_decide": view.may_decide,
    }


def _words(view: ApprovalView) -> dict[str, Any]:
    """What the page says of an approval, in words."""
    tool = "a call" if view.tool is None else view.tool.name
    server = "a server" if view.server is None else view.server.slug or "a server that has ended"
    return {
        "id": format_id(APPROVAL, view.id),
        "headline": f"{tool} on {server}",
        "tool": tool,
        "server": server,
        "who": view.identity.name or _ERASED,
        "state": _STATES[view.state],
        "explanation": _explanation(view),
        "event": None if view.event_id is None else format_id(EVENT, view.event_id),
    }


def _explanation(view: ApprovalView) -> str | None:
    """Why there is nothing to decide; None when there is."""
    if view.void is not None:
        return _VOID[view.void]
    if view.state != "pending":
        return _ENDED[view.state]
    if view.may_decide:
        return None
    group = "nobody" if view.approver_group is None else view.approver_group.name
    return (
        "You do not decide this one: it is your own call or that of an agent that you answer for, or you are not in "
        f"the group that does, {group}."
    )
