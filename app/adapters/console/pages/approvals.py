"""Approvals: the live list of pending ones, the history, and the page that decides one."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.display import ERASED, MAX_SHORT_TEXT, link, visible_in_thread
from app.adapters.console.forms import Form, end_of_day, validate
from app.adapters.console.page import HEADERS, PageRoute, redirect
from app.adapters.console.pages.grants import describe_tools
from app.db.change import Change
from app.domain.errors import NotFound, Unavailable
from app.domain.risk import Risk
from app.features.approvals import service as approvals
from app.features.approvals.queries import require_requestable, select_tools, tools_of
from app.features.approvals.schemas import (
    ApprovalAgreement,
    ApprovalDecision,
    ApprovalQuery,
    ApprovalView,
    RequestableTool,
)
from app.features.tokens.schemas import TokenQuery, TokenStatus, TokenView
from app.features.tokens.service import list_own_tokens
from app.http.authorization import Caller, Permission
from app.http.live import News
from app.http.pagination import MAXIMUM_LIMIT, Page
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


@dataclass(frozen=True, slots=True)
class Row:
    """An approval in a list. ``tools`` describes the requested tools; ``risk`` is their most severe one."""

    it: ApprovalView
    what: str
    who: str
    why: str
    risk: Risk | None
    tools: str | None

    @property
    def decides(self) -> bool:
        """Whether the viewer can decide it."""
        return self.it.may_decide and self.it.void is None


async def build_rows(session: AsyncSession, found: Sequence[ApprovalView]) -> list[Row]:
    """Build the rows of a list of approvals."""
    asked = {view.server.id for view in found if view.access is not None and view.server is not None}
    tools = await tools_of(session, asked)
    return [_row(view, [] if view.server is None else tools.get(view.server.id, [])) for view in found]


def headline(view: ApprovalView) -> str:
    """What is requested, in a few words."""
    if view.access is not None:
        name = None if view.server is None else view.server.name or view.server.slug
        return f"Access to {name or 'a server that has ended'}"
    tool = "a call" if view.tool is None else view.tool.name
    server = "a server" if view.server is None else view.server.slug or "a server that has ended"
    return f"{tool} on {server}"


def requester_name(view: ApprovalView) -> str:
    """The name of the identity that makes the call or receives the access."""
    return view.identity.name or ERASED


def explanation(view: ApprovalView, *, mine: bool) -> str | None:
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


def fingerprint(found: Sequence[ApprovalView]) -> str:
    """A fingerprint of a list's content, which the page sends back to receive only changes."""
    text = "\n".join(f"{view.id} {view.revision} {view.may_decide} {view.void}" for view in found)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _row(view: ApprovalView, tools: Sequence[RequestableTool]) -> Row:
    reasons = [view.reason, *(policy.reason for policy in view.policies)]
    risk = None if view.tool is None else view.tool.risk
    words = None
    if view.access is not None:
        risk = gravest([tool.risk for tool in select_tools(tools, view.access.tools)])
        words = describe_tools(view.access.tools)
    why = next((reason for reason in reasons if reason), "")
    return Row(view, headline(view), requester_name(view), why, risk, words)


@router.get(HOME, operation_id="page_list_approvals")
async def list_page(context: Reader) -> Response:
    """List the pending approvals that the viewer may see, newest first; or the finished ones."""
    pending = context.param("tab") != "over"
    query = _query(context, pending=pending)
    found = await approvals.list_approvals(context.session, context.caller, query, context.runtime)
    pager, off = context.pager(found.next_cursor), context.param("live") == "off"
    return context.page(
        "approvals/list.html",
        rows=await build_rows(context.session, found.items),
        waiting=pending,
        # Live updates only cover the first page, where new approvals appear.
        live=_live(context, found) if pending and pager["first"] is None and not off else None,
        still=f"{HOME}?{urlencode([*_kinds(context), ('live', 'off')])}",
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
        rows: dict[str, Any] = {"rows": await build_rows(session, found.items), "waiting": True}
        return News([context.event("approvals/rows.html", chosen={"kind": "", "state": ""}, **rows)])

    return context.stream(Permission.SELF_READ, look)


@router.get("/approvals", operation_id="page_old_approvals")
async def lead_to_list() -> Response:
    """Redirect from the earlier address of the list, which mails and chats contain."""
    return RedirectResponse(HOME, 308, HEADERS)


@router.get("/approvals/{approval_id}", operation_id="page_old_approval")
async def lead_to_one(approval_id: ApprovalId) -> Response:
    """Redirect from the earlier address of an approval."""
    return RedirectResponse(f"{HOME}/{format_id(APPROVAL, approval_id)}", 308, HEADERS)


def _query(context: PageContext, *, pending: bool) -> ApprovalQuery:
    """The address's filters, for pending or for finished approvals."""
    if pending:
        return context.query(ApprovalQuery, limit=_PAGE, state=["pending"])
    query = context.query(ApprovalQuery, limit=_PAGE)
    return query if query.state else context.query(ApprovalQuery, limit=_PAGE, state=_OVER)


def _live(context: PageContext, found: Page[ApprovalView]) -> str:
    """The address of the live updates for the shown list."""
    return f"{HOME}/live?{urlencode([*_kinds(context), ('shown', fingerprint(found.items))])}"


def _kinds(context: PageContext) -> list[tuple[str, str]]:
    return [("kind", kind) for kind in context.request.query_params.getlist("kind") if kind]


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
        values["access"] = await _access(context, view)
    values["tokens"] = await _own_tokens(context, view) if mine else []
    return context.page(
        "approvals/show.html",
        it=view,
        what=headline(view),
        who=requester_name(view),
        explanation=explanation(view, mine=mine),
        mine=mine,
        earlier=await _earlier(context, view),
        reason=context.form.raw("reason"),
        public_url=context.runtime.public_url,
        **values,
    )


@router.post(f"{_ONE}/approve", operation_id="page_approve")
async def approve(sent: Decision, approval_id: ApprovalId) -> Response:
    """Approve a call once, or grant access, as requested or narrower."""
    async with sent.attempt():
        body = validate(ApprovalAgreement, _agreement(sent.form))
        await approvals.approve(sent.change, approval_id, body, sent.shown, ttl=sent.runtime.approval_ttl)
    if sent.problems:
        return await show_page(sent, approval_id)
    return redirect(link("approval", approval_id))


@router.post(f"{_ONE}/deny", operation_id="page_deny")
async def deny(sent: Decision, approval_id: ApprovalId) -> Response:
    """Deny a request."""
    async with sent.attempt():
        body = validate(ApprovalDecision, {"reason": sent.form.text("reason") or None})
        await approvals.deny(sent.change, approval_id, body, sent.shown)
    if sent.problems:
        return await show_page(sent, approval_id)
    return redirect(link("approval", approval_id))


@router.post(f"{_ONE}/withdraw", operation_id="page_withdraw_request")
async def withdraw(sent: Withdrawal, approval_id: ApprovalId) -> Response:
    """Withdraw one's own request."""
    async with sent.attempt():
        await approvals.withdraw_request(sent.change, approval_id, sent.shown)
    if sent.problems:
        return await show_page(sent, approval_id)
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


async def _own_tokens(context: PageContext, view: ApprovalView) -> list[TokenView]:
    """The recipient's active tokens with the scope ``grants``, which also reach this access."""
    if view.access is None or view.access.granted is None:
        return []
    query = TokenQuery(identity_id=[view.identity.id], status=[TokenStatus.ACTIVE], limit=MAXIMUM_LIMIT)
    found = (await list_own_tokens(context.session, context.caller, query, context.runtime)).items
    return [one for one in found if one.scope.kind == "grants" and one.parent_id is None]


async def _access(context: PageContext, view: ApprovalView) -> dict[str, Any]:
    """Values of the page for an access request: its tools as they are now, and the form's state."""
    assert view.access is not None  # noqa: S101  # The caller has checked it.
    known = None if view.server is None else await _known_tools(context, view, view.server.id)
    tools = select_tools(known or [], view.access.tools)
    less = context.form.text("give") == "less"
    by_name = view.access.tools.kind == "names"
    asked_until = f"{view.access.expires_at:%Y-%m-%d}"
    return {
        "words": describe_tools(view.access.tools),
        "tools": tools,
        "shows_tools": known is not None,
        "risk": gravest([tool.risk for tool in tools]),
        "gone": sorted(set(getattr(view.access.tools, "names", [])) - {tool.name for tool in tools}),
        "given": None if view.access.granted is None else describe_tools(view.access.granted.tools),
        "less": less,
        # Requested tools are preselected; for "all" or a risk the approver selects.
        "ticked": set(context.form.texts("tool")) if less else {tool.name for tool in tools if by_name},
        "until": context.form.text("until") if less else asked_until,
        "asked_until": asked_until,
    }


async def _known_tools(
    context: PageContext, view: ApprovalView, server_id: UUID
) -> list[RequestableTool] | None:
    """The server's current tools; None for a requester if the server can no longer be requested."""
    if view.may_decide or context.may(Permission.TOOLS_READ):
        return (await tools_of(context.session, [server_id])).get(server_id, [])
    try:
        return (await require_requestable(context.session, server_id)).tools
    except NotFound:
        return None


async def _earlier(context: PageContext, view: ApprovalView) -> list[Any]:
    """Other requests of the same identity that the viewer may see."""
    query = ApprovalQuery(identity_id=[view.identity.id], limit=_EARLIER + 1)
    found = await approvals.list_approvals(context.session, context.caller, query, context.runtime)
    return await build_rows(context.session, [one for one in found.items if one.id != view.id][:_EARLIER])


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
