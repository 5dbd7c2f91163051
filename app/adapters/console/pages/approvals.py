"""Approvals: the inbox of what waits, which keeps itself up to date, and what is over; and where they were before.

Approvals in words: what is asked for, how it stands, and why there may be nothing to decide.

One approval: what is asked for with all that there is to know, and the forms that decide it or take it back.
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.console import CurrentConsole
from app.adapters.console.forms import (
    AsShown,
    Form,
    Problems,
    attempted,
    first_page,
    next_page,
    read_query,
    validated,
)
from app.adapters.console.page import HEADERS, PageRoute, page, redirect
from app.adapters.console.pages.grants import words_of_tools
from app.adapters.console.pages.principals import ERASED
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.adapters.console.visible import visible
from app.domain.errors import Invalid, NotFound, Unavailable
from app.domain.risk import Risk
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
from app.http.authorization import Caller, Permission
from app.http.live import News, live_event
from app.http.pagination import MAXIMUM_LIMIT, Page
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import APPROVAL, ApprovalId, format_id
from app.models.approvals import Approval

_ENDED_CALL = {
    "approved": "When the call is repeated, it runs once.",
    "denied": "The caller is told, with the reason.",
    "expired": "It was not decided, or not used, in time. When the call is repeated, it asks for another approval.",
    "cancelled": "It ended with the token, the identity or the group that it rested on.",
    "consumed": "The call that it was for has run. It lets no other through.",
}
_ENDED_ACCESS = {
    "approved": "It became a grant in the same moment.",
    "denied": "Nothing was given.",
    "expired": "Nobody decided it in time. It can be asked for once more.",
    "cancelled": "It was taken back, or ended with whoever it was for.",
}
_VOID = {
    "token_ended": "No call can use it any more: the token that asked is revoked or expired.",
    "identity_offboarded": "It is of no use any more: whoever asked is offboarded.",
    "definition_changed": "No call can use it any more: the tool is gone, or its definition is another one.",
    "risk_changed": "No call can use it any more: the risk of the tool was changed.",
    "policies_changed": "No call can use it any more: a policy that asked was changed.",
    "not_requestable": "It cannot be given any more: the server cannot be asked for now.",
}

# Of several tools, the one that most has to be thought about.
_GRAVEST = (Risk.DESTRUCTIVE, Risk.UNKNOWN, Risk.WRITE, Risk.READ)


@dataclass(frozen=True, slots=True)
class Row:
    """An approval as lists show it; ``tools``: those that access is asked to, in words; ``risk``: the gravest."""

    it: ApprovalView
    what: str
    who: str
    why: str
    risk: Risk | None
    tools: str | None

    @property
    def decides(self) -> bool:
        """Whether there is something to decide, for the one who looks."""
        return self.it.may_decide and self.it.void is None


async def rows_of(session: AsyncSession, found: Sequence[ApprovalView]) -> list[Row]:
    """Approvals as lists show them."""
    asked = {view.server.id for view in found if view.access is not None and view.server is not None}
    tools = await tools_of(session, asked)
    return [_row(view, [] if view.server is None else tools.get(view.server.id, [])) for view in found]


def headline(view: ApprovalView) -> str:
    """What is asked for, in a few words."""
    if view.access is not None:
        name = None if view.server is None else view.server.name or view.server.slug
        return f"Access to {name or 'a server that has ended'}"
    tool = "a call" if view.tool is None else view.tool.name
    server = "a server" if view.server is None else view.server.slug or "a server that has ended"
    return f"{tool} on {server}"


def who_asks(view: ApprovalView) -> str:
    """Whose call it is, or for whom access is asked."""
    return view.identity.name or ERASED


def explanation(view: ApprovalView, *, mine: bool) -> str | None:
    """Why there is nothing to decide for whoever looks, whose own it may be; None when there is."""
    if view.void is not None:
        return _VOID[view.void]
    if view.state != "pending":
        return (_ENDED_ACCESS if view.access is not None else _ENDED_CALL)[view.state]
    if view.may_decide:
        return None
    if mine:
        return "Somebody else decides this: it is your own, or that of an agent that you answer for."
    group = "approvers" if view.approver_group is None else f"{view.approver_group.name}, and approvers,"
    return f"You do not decide this one: {group} do, unless it is theirs."


def gravest(risks: Sequence[Risk]) -> Risk | None:
    """The risk among these that most has to be thought about."""
    return next((risk for risk in _GRAVEST if risk in risks), None)


def mark_of(found: Sequence[ApprovalView]) -> str:
    """What a list shows, in so few letters that a page can say what it has."""
    text = "\n".join(f"{view.id} {view.revision} {view.may_decide} {view.void}" for view in found)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _row(view: ApprovalView, tools: Sequence[RequestableTool]) -> Row:
    reasons = [view.reason, *(policy.reason for policy in view.policies)]
    risk = None if view.tool is None else view.tool.risk
    words = None
    if view.access is not None:
        risk = gravest([tool.risk for tool in selected(tools, view.access.tools)])
        words = words_of_tools(view.access.tools)
    why = next((reason for reason in reasons if reason), "")
    return Row(view, headline(view), who_asks(view), why, risk, words)


HOME = "/console/approvals"
_PAGE = 25
_OVER = ["approved", "denied", "consumed", "expired", "cancelled"]
router = APIRouter(include_in_schema=False, route_class=PageRoute)
Reader = Annotated[Viewer, signed_in(Permission.SELF_READ)]


@router.get(HOME, operation_id="page_list_approvals")
async def list_page(request: Request, viewer: Reader, session: Session, runtime: CurrentRuntime) -> Response:
    """What waits and the person may see, newest first; or what is over."""
    waiting = request.query_params.get("tab") != "over"
    query = _query(request, waiting=waiting)
    found = await list_approvals(query, viewer.caller, session, runtime)
    first, off = first_page(request), request.query_params.get("live") == "off"
    return page(
        request,
        "approvals/list.html",
        viewer=viewer,
        rows=await rows_of(session, found.items),
        waiting=waiting,
        # Of the first page alone: what is new comes at its top.
        live=_live(request, found) if waiting and first is None and not off else None,
        still=f"{HOME}?{urlencode([*_kinds(request), ('live', 'off')])}",
        off=off and waiting,
        chosen={name: request.query_params.get(name, "") for name in ("kind", "state")},
        more=next_page(request, found.next_cursor),
        first=first,
    )


@router.get(f"{HOME}/live", operation_id="page_watch_approvals")
async def watch(
    request: Request, viewer: Reader, runtime: CurrentRuntime, console: CurrentConsole
) -> Response:
    """The first page of what waits, anew whenever it is another than the one that the page has."""
    query, shown = _query(request, waiting=True), request.query_params.get("shown", "")

    async def look(session: AsyncSession, caller: Caller) -> News:
        nonlocal shown
        found = await list_approvals(query, caller, session, runtime)
        mark = mark_of(found.items)
        if mark == shown:
            return News()
        shown = mark
        rows: dict[str, Any] = {"rows": await rows_of(session, found.items), "waiting": True}
        fresh = page(request, "approvals/rows.html", viewer=viewer, chosen={"kind": "", "state": ""}, **rows)
        return News([live_event(bytes(fresh.body).decode())])

    return runtime.live.stream(request, viewer.caller, Permission.SELF_READ, console.authenticate, look)


@router.get("/approvals", operation_id="page_old_approvals")
async def lead_to_list() -> Response:
    """Where the list was: links to it are in mails and chats."""
    return RedirectResponse(HOME, 308, HEADERS)


@router.get("/approvals/{approval_id}", operation_id="page_old_approval")
async def lead_to_one(approval_id: ApprovalId) -> Response:
    """Where an approval was."""
    return RedirectResponse(f"{HOME}/{format_id(APPROVAL, approval_id)}", 308, HEADERS)


def _query(request: Request, *, waiting: bool) -> ApprovalQuery:
    """The filters of the address, over what waits or what is over."""
    if waiting:
        return read_query(ApprovalQuery, request, limit=_PAGE, state=["pending"])
    query = read_query(ApprovalQuery, request, limit=_PAGE)
    return query if query.state else read_query(ApprovalQuery, request, limit=_PAGE, state=_OVER)


def _live(request: Request, found: Page[ApprovalView]) -> str:
    """The address that tells of changes to what this page shows."""
    return f"{HOME}/live?{urlencode([*_kinds(request), ('shown', mark_of(found.items))])}"


def _kinds(request: Request) -> list[tuple[str, str]]:
    return [("kind", kind) for kind in request.query_params.getlist("kind") if kind]


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
