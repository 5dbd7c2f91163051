"""Approvals: the live list of pending ones, the history, and the page that decides one."""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.context import PageContext, Submission, may_open, may_submit, on_refusal
from app.adapters.console.display import ERASED, MAX_SHORT_TEXT, link, visible_in_thread
from app.adapters.console.forms import Form, end_of_day, validate
from app.adapters.console.page import HEADERS, PageRoute, redirect, with_query
from app.db.change import Change
from app.domain.errors import NotFound, Unavailable
from app.domain.risk import Risk
from app.features.approvals import schemas
from app.features.approvals import service as approvals
from app.features.approvals.queries import require_requestable, select_tools, tools_of
from app.features.tokens.schemas import TokenQuery, TokenStatus, TokenView
from app.features.tokens.service import list_own_tokens
from app.http.authorization import Caller, Permission
from app.http.live import News
from app.http.pagination import MAXIMUM_LIMIT
from app.lib.ids import APPROVAL, ApprovalId, format_id
from app.models.access import Approval

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_ENDED_CALL = {
    "approved": "When the call is repeated, it runs once.",
    "denied": "The caller receives the denial with the reason.",
    "expired": "It was not decided, or not used, in time. Repeating the call asks for another approval.",
    "cancelled": "It was cancelled with the token, identity or group that it depended on.",
    "consumed": "The approved call has run. The approval is used up.",
}
_ENDED_ACCESS = {
    "approved": "A grant was created.",
    "denied": "No access was granted.",
    "expired": "It was not decided in time. It can be requested again.",
    "cancelled": "It was withdrawn, or cancelled with the identity that it was for.",
}
_VOID = {
    "token_ended": "It can no longer be used: the requesting token is revoked or expired.",
    "identity_offboarded": "It can no longer be used: the requester is offboarded.",
    "definition_changed": "It can no longer be used: the tool was removed or its definition changed.",
    "risk_changed": "It can no longer be used: the risk of the tool changed.",
    "policies_changed": "It can no longer be used: a policy that required it changed.",
    "not_requestable": "It can no longer be granted: access to the server cannot be requested now.",
}
# From the most to the least severe.
_BY_SEVERITY = (Risk.DESTRUCTIVE, Risk.UNKNOWN, Risk.WRITE, Risk.READ)
HOME = "/console/approvals"
_PAGE = 25
_OVER = ["approved", "denied", "consumed", "expired", "cancelled"]
Reader = Annotated[PageContext, may_open(Permission.SELF_READ)]
_ONE = f"{HOME}/{{approval_id}}"
_EARLIER = 8
# The form names each selected tool, of which there can be some hundred.
_MAX_FORM_BYTES = 256 * 1024
Decision = Annotated[Submission, may_submit(Permission.SELF_READ, max_bytes=_MAX_FORM_BYTES)]
Withdrawal = Annotated[Submission, may_submit(Permission.SELF_WRITE)]


async def risks_of(session: AsyncSession, found: Sequence[schemas.ApprovalView]) -> dict[UUID, Risk | None]:
    """The risk of each requested call, and the most severe risk of each requested access, by approval."""
    asked = {view.server.id for view in found if view.access is not None and view.server is not None}
    tools = await tools_of(session, asked)
    risks = {view.id: None if view.tool is None else view.tool.risk for view in found}
    for view in found:
        if view.access is not None:
            known = [] if view.server is None else tools.get(view.server.id, [])
            risks[view.id] = gravest([tool.risk for tool in select_tools(known, view.access.tools)])
    return risks


def explanation(view: schemas.ApprovalView, *, mine: bool) -> str | None:
    """Why the viewer cannot decide the approval; None if they can. ``mine``: it is their own."""
    if view.void is not None:
        return _VOID[view.void]
    if view.state != "pending":
        return (_ENDED_ACCESS if view.access is not None else _ENDED_CALL)[view.state]
    if view.may_decide:
        return None
    if mine:
        return "Another person decides this, since it is your own request or that of an agent you own."
    group = "approvers" if view.approver_group is None else f"{view.approver_group.name}, and approvers,"
    return f"Only {group} decide this, except their own requests."


def gravest(risks: Sequence[Risk]) -> Risk | None:
    """The most severe of some risks."""
    return next((risk for risk in _BY_SEVERITY if risk in risks), None)


def fingerprint(found: Sequence[schemas.ApprovalView]) -> str:
    """A fingerprint of a list's content, which the page sends back to receive only changes."""
    text = "\n".join(f"{view.id} {view.revision} {view.may_decide} {view.void}" for view in found)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@router.get(HOME, operation_id="page_list_approvals")
async def list_page(context: Reader) -> Response:
    """List the pending approvals that the viewer may see, newest first; or the finished ones."""
    pending = context.param("tab") != "over"
    query = _query(context, pending=pending)
    found = await approvals.list_approvals(context.session, context.caller, query, context.runtime)
    pager, off = context.pager(found.next_cursor), context.param("live") == "off"
    kinds = [("kind", kind) for kind in context.request.query_params.getlist("kind") if kind]
    # Live updates only cover the first page, where new approvals appear.
    if live := pending and pager["first"] is None and not off:
        pager["live"] = with_query(f"{HOME}/live", [*kinds, ("shown", fingerprint(found.items))])
        pager["still"] = with_query(HOME, [*kinds, ("live", "off")])
    return await context.page(
        "approvals/list.html",
        items=found.items,
        risks=await risks_of(context.session, found.items),
        waiting=pending,
        is_live=live,
        off=off and pending,
        chosen={name: context.param(name) for name in ("kind", "state")},
        **pager,
    )


@router.get(f"{HOME}/live", operation_id="page_watch_approvals")
async def watch(context: Reader) -> Response:
    """Stream the first page of pending approvals whenever it changes."""
    query, shown = _query(context, pending=True), context.param("shown")

    async def look(session: AsyncSession, caller: Caller) -> News:
        nonlocal shown
        found = await approvals.list_approvals(session, caller, query, context.runtime)
        mark = fingerprint(found.items)
        if mark == shown:
            return News()
        shown = mark
        rows = {"items": found.items, "risks": await risks_of(session, found.items)}
        chosen = {"kind": "", "state": ""}
        return News([await context.event("approvals/rows.html", waiting=True, chosen=chosen, **rows)])

    return context.stream(Permission.SELF_READ, look)


@router.get("/approvals", operation_id="page_old_approvals")
async def lead_to_list() -> Response:
    """Redirect from the earlier address of the list, which mails and chats contain."""
    return RedirectResponse(HOME, 308, HEADERS)


@router.get("/approvals/{approval_id}", operation_id="page_old_approval")
async def lead_to_one(approval_id: ApprovalId) -> Response:
    """Redirect from the earlier address of an approval."""
    return RedirectResponse(f"{HOME}/{format_id(APPROVAL, approval_id)}", 308, HEADERS)


def _query(context: PageContext, *, pending: bool) -> schemas.ApprovalQuery:
    """The address's filters, for pending or for finished approvals."""
    if pending:
        return context.query(schemas.ApprovalQuery, limit=_PAGE, state=["pending"])
    query = context.query(schemas.ApprovalQuery, limit=_PAGE)
    return query if query.state else context.query(schemas.ApprovalQuery, limit=_PAGE, state=_OVER)


@router.get(_ONE, operation_id="page_show_approval")
async def show_page(context: Reader, approval_id: ApprovalId) -> Response:
    """Show a request with the form that decides it."""
    row = await approvals.get_approval(context.session, context.caller, approval_id)
    view = await approvals.show_approval(context.session, context.caller, row, context.runtime.public_url)
    mine = context.caller.identity_id in {view.identity.id, view.owner and view.owner.id}
    values: dict[str, Any] = {"arguments": None, "access": None}
    if view.access is None:
        values["arguments"] = await _arguments(context, row)
    else:
        values["access"] = await _access(context, view, view.access)
    values["tokens"] = await _own_tokens(context, view) if mine else []
    query = schemas.ApprovalQuery(identity_id=[view.identity.id], limit=_EARLIER + 1)
    found = await approvals.list_approvals(context.session, context.caller, query, context.runtime)
    return await context.page(
        "approvals/show.html",
        it=view,
        who=view.identity.name or ERASED,
        explanation=explanation(view, mine=mine),
        mine=mine,
        earlier=[one for one in found.items if one.id != view.id][:_EARLIER],
        public_url=context.runtime.public_url,
        **values,
    )


@router.post(f"{_ONE}/approve", operation_id="page_approve")
@on_refusal(show_page)
async def approve(sent: Decision, approval_id: ApprovalId) -> Response:
    """Approve a call once, or grant access, as requested or narrower."""
    body = validate(schemas.ApprovalAgreement, _agreement(sent.form))
    await approvals.approve(sent.change, approval_id, body, sent.shown, ttl=sent.runtime.approval_ttl)
    return redirect(link("approval", approval_id))


@router.post(f"{_ONE}/deny", operation_id="page_deny")
@on_refusal(show_page)
async def deny(sent: Decision, approval_id: ApprovalId) -> Response:
    """Deny a request."""
    body = validate(schemas.ApprovalDecision, {"reason": sent.form.text("reason") or None})
    await approvals.deny(sent.change, approval_id, body, sent.shown)
    return redirect(link("approval", approval_id))


@router.post(f"{_ONE}/withdraw", operation_id="page_withdraw_request")
@on_refusal(show_page)
async def withdraw(sent: Withdrawal, approval_id: ApprovalId) -> Response:
    """Withdraw one's own request."""
    await approvals.withdraw_request(sent.change, approval_id, sent.shown)
    return redirect(link("approval", approval_id))


def _agreement(form: Form) -> dict[str, Any]:
    """What the form approves: everything, or the selected tools until the given day.

    Raises ``Invalid`` for an invalid date.
    """
    agreed: dict[str, Any] = {"reason": form.text("reason") or None}
    if form.text("give") != "less":
        return agreed
    less: dict[str, Any] = {"tools": {"kind": "names", "names": form.texts("tool")}}
    until = form.text("until")
    # An unchanged day keeps the requested time of day.
    if until and until != form.text("asked_until"):
        less["expires_at"] = end_of_day(until, "/access/expires_at")
    return agreed | {"access": less}


async def _own_tokens(context: PageContext, view: schemas.ApprovalView) -> list[TokenView]:
    """The recipient's active tokens with the scope ``grants``, which also reach this access."""
    if view.access is None or view.access.granted is None:
        return []
    query = TokenQuery(identity_id=[view.identity.id], status=[TokenStatus.ACTIVE], limit=MAXIMUM_LIMIT)
    found = (await list_own_tokens(context.session, context.caller, query, context.runtime)).items
    return [one for one in found if one.scope.kind == "grants" and one.parent_id is None]


async def _access(
    context: PageContext, view: schemas.ApprovalView, asked: schemas.ApprovalAccess
) -> dict[str, Any]:
    """Values of the page for an access request: its tools as they are now, and the form's state."""
    known = None if view.server is None else await _known_tools(context, view, view.server.id)
    tools = select_tools(known or [], asked.tools)
    less = context.form.text("give") == "less"
    by_name = asked.tools.kind == "names"
    asked_until = f"{asked.expires_at:%Y-%m-%d}"
    return {
        "tools": tools,
        "shows_tools": known is not None,
        "risk": gravest([tool.risk for tool in tools]),
        "gone": sorted(set(getattr(asked.tools, "names", [])) - {tool.name for tool in tools}),
        "less": less,
        # Requested tools are preselected; for "all" or a risk the approver selects.
        "ticked": set(context.form.texts("tool")) if less else {tool.name for tool in tools if by_name},
        "until": context.form.text("until") if less else asked_until,
        "asked_until": asked_until,
    }


async def _known_tools(
    context: PageContext, view: schemas.ApprovalView, server_id: UUID
) -> list[schemas.RequestableTool] | None:
    """The server's current tools; None for a requester if the server can no longer be requested."""
    if view.may_decide or context.may(Permission.TOOLS_READ):
        return (await tools_of(context.session, [server_id])).get(server_id, [])
    try:
        return (await require_requestable(context.session, server_id)).tools
    except NotFound:
        return None


async def _arguments(context: PageContext, row: Approval) -> dict[str, Any]:
    """The arguments as text, or why they are not shown. Reading them is recorded in the audit log."""
    shown: dict[str, Any] = {"text": None, "length": 0, "why": None}
    if not await approvals.may_read_arguments(context.session, context.caller, row):
        return shown | {
            "why": "Only the people who can decide this request see its arguments, while it is pending."
        }
    try:
        change = Change(context.session, context.caller, context.request_id, context.now)
        arguments = await approvals.read_arguments(change, row, context.runtime)
    except Unavailable as unavailable:
        return shown | {"why": unavailable.detail}
    if not arguments.kept:
        return shown | {"why": "The arguments are not kept, by the server's setting keep_arguments."}
    text = json.dumps(arguments.arguments, indent=2, ensure_ascii=False)
    length = len(text) if len(text) > MAX_SHORT_TEXT else 0
    return shown | {"text": await visible_in_thread(text), "length": length}
