"""Approvals: the inbox of what waits, which keeps itself up to date, and what is over; and where they were before."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.console import CurrentConsole
from app.adapters.console.forms import first_page, next_page, read_query
from app.adapters.console.page import HEADERS, PageRoute, page
from app.adapters.console.pages.approval_words import mark_of, rows_of
from app.adapters.console.signed_in import Viewer, signed_in
from app.features.approvals.routes import list_approvals
from app.features.approvals.schemas import ApprovalQuery, ApprovalView
from app.http.authorization import Caller, Permission
from app.http.live import News, live_event
from app.http.pagination import Page
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session
from app.lib.ids import APPROVAL, ApprovalId, format_id

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
