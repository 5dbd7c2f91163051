"""``/approvals``: decide the calls that policies ask about, and access requests.

Every identity may use these routes; what a caller sees and may decide is checked for each approval.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.features.approvals.approve_access import approve
from app.features.approvals.ask import ask_for_access, withdraw_request
from app.features.approvals.decide import deny_approval as deny_approval_
from app.features.approvals.decide import require_approval
from app.features.approvals.queries import select_approvals
from app.features.approvals.schemas import (
    AccessRequest,
    ApprovalAgreement,
    ApprovalArguments,
    ApprovalDecision,
    ApprovalQuery,
    ApprovalView,
)
from app.features.approvals.views import read_arguments, show_approval, show_approvals
from app.http.authorization import CanReadSelf, CanWriteSelf
from app.http.etags import IfMatch, set_etag
from app.http.idempotency import once
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import APPROVAL, ApprovalId, format_id
from app.models.access import Approval

router = APIRouter(
    prefix="/api/v1/approvals",
    tags=["approvals"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS,
)


@router.get("", operation_id="list_approvals", summary="List approvals, newest first")
async def list_approvals(
    query: Annotated[ApprovalQuery, Query()], caller: CanReadSelf, session: Session, runtime: CurrentRuntime
) -> Page[ApprovalView]:
    """All of them with the permission `approvals.read`; else your own requests, those of your agents, and those of your
    groups."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_approvals", query.filters())
    statement = select_approvals(caller, query)
    rows, next_cursor = await read_page(session, statement, Approval, cursors, query)
    return Page(
        items=await show_approvals(session, caller, rows, runtime.public_url), next_cursor=next_cursor
    )


@router.post(
    "",
    status_code=201,
    operation_id="create_approval",
    responses=problem_responses(409),
    summary="Ask for access to a server",
)
@once
async def create_approval(
    body: AccessRequest,
    caller: CanWriteSelf,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
) -> ApprovalView:
    """For yourself, or for an agent that you own, to a server of `GET /api/v1/me/requestable-servers`. The request
    gives no access by itself: members of the group that owns the server, or callers with `approvals.decide`, decide on
    it."""
    row = await ask_for_access(session, caller, body, runtime.clock(), request.state.request_id)
    response.headers["Location"] = f"/api/v1/approvals/{format_id(APPROVAL, row.id)}"
    set_etag(response, row.revision)
    return await show_approval(session, caller, row, runtime.public_url)


@router.get("/{approval_id}", operation_id="get_approval", summary="Read one approval")
async def get_approval(
    approval_id: ApprovalId,
    caller: CanReadSelf,
    session: Session,
    runtime: CurrentRuntime,
    response: Response,
) -> ApprovalView:
    """The request, the requester, the reasons and the state."""
    row = await require_approval(session, caller, approval_id)
    set_etag(response, row.revision)
    return await show_approval(session, caller, row, runtime.public_url)


@router.get(
    "/{approval_id}/arguments",
    operation_id="get_approval_arguments",
    summary="Read the arguments of a call",
)
async def get_approval_arguments(
    approval_id: ApprovalId,
    caller: CanReadSelf,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
) -> ApprovalArguments:
    """Works if the server keeps arguments. Needs the permission `arguments.read`, or that you can decide the approval
    as a member of its group. Each reading is an audit event."""
    row = await require_approval(session, caller, approval_id)
    kept, arguments = await read_arguments(session, caller, row, runtime.sealer, request.state.request_id)
    response.headers["Cache-Control"] = "no-store"
    return ApprovalArguments(approval_id=approval_id, kept=kept, arguments=arguments)


@router.post(
    "/{approval_id}/deny",
    operation_id="deny_approval",
    responses=problem_responses(409, 412),
    summary="Deny an approval",
)
async def deny_approval(
    approval_id: ApprovalId,
    body: ApprovalDecision,
    caller: CanReadSelf,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> ApprovalView:
    """The requester gets the reason. Needs the same permission as approving."""
    row = await deny_approval_(
        session, caller, approval_id, body.reason, if_match, request_id=request.state.request_id
    )
    set_etag(response, row.revision)
    return await show_approval(session, caller, row, runtime.public_url)


@router.post(
    "/{approval_id}/withdraw",
    operation_id="withdraw_approval",
    responses=problem_responses(409, 412),
    summary="Withdraw a request for access",
)
async def withdraw_approval(
    approval_id: ApprovalId,
    caller: CanWriteSelf,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> ApprovalView:
    """Your own request, or one for an agent that you own, while it is pending."""
    row = await withdraw_request(session, caller, approval_id, if_match, request.state.request_id)
    set_etag(response, row.revision)
    return await show_approval(session, caller, row, runtime.public_url)


@router.post(
    "/{approval_id}/approve",
    operation_id="approve_approval",
    responses=problem_responses(409, 412),
    summary="Approve a call, once, or a request for access",
)
async def approve_approval(
    approval_id: ApprovalId,
    body: ApprovalAgreement,
    caller: CanReadSelf,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> ApprovalView:
    """When the call is repeated with the same arguments, it runs, once. Access becomes a grant, as requested or
    narrowed by `access`. Needs the permission `approvals.decide` or membership of the group that decides; you cannot
    approve a call or request of your own."""
    row = await approve(
        session, caller, approval_id, body, if_match,
        ttl=runtime.approval_ttl, now=runtime.clock(), request_id=request.state.request_id,
    )  # fmt: skip
    set_etag(response, row.revision)
    return await show_approval(session, caller, row, runtime.public_url)
