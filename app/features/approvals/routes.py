"""REST routes of approvals: people decide calls that policy asks about.

They are open to everybody who has an identity here: what a caller sees and may decide is looked at for each one.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.features.approvals.arguments import read_arguments
from app.features.approvals.decide import Verdict, decide_approval, require_approval
from app.features.approvals.models import Approval
from app.features.approvals.repository import select_approvals
from app.features.approvals.schemas import (
    ApprovalArguments,
    ApprovalDecision,
    ApprovalQuery,
    ApprovalView,
)
from app.features.approvals.views import show_approval, show_approvals
from app.kit.authorization import CanReadSelf
from app.kit.database import Session, TransactionalRoute
from app.kit.etags import IfMatch, set_etag
from app.kit.ids import ApprovalId
from app.kit.pagination import Cursors, Page, read_page
from app.kit.problems import COMMON_PROBLEMS, problem_responses
from app.kit.runtime import CurrentRuntime

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
    """All of them with the permission `approvals.read`; else those that you or your agents asked for, and those that
    name a group you are in."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_approvals", query.filters())
    found = select_approvals(caller, query)
    rows, next_cursor = await read_page(session, found, Approval, cursors, query)
    return Page(
        items=await show_approvals(session, caller, rows, runtime.public_url), next_cursor=next_cursor
    )


@router.get("/{approval_id}", operation_id="get_approval", summary="Read one approval")
async def get_approval(
    approval_id: ApprovalId,
    caller: CanReadSelf,
    session: Session,
    runtime: CurrentRuntime,
    response: Response,
) -> ApprovalView:
    """What is asked, by whom, why, and how it stands."""
    row = await require_approval(session, caller, approval_id)
    set_etag(response, row.revision)
    return await show_approval(session, caller, row, runtime.public_url)


@router.get(
    "/{approval_id}/arguments",
    operation_id="get_approval_arguments",
    summary="Read the arguments that are asked about",
)
async def get_approval_arguments(
    approval_id: ApprovalId,
    caller: CanReadSelf,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
) -> ApprovalArguments:
    """Where the server has them kept. Needs the permission `arguments.read`, or that you can decide the approval as a
    member of its group. Whoever reads them is on record."""
    row = await require_approval(session, caller, approval_id)
    kept, arguments = await read_arguments(session, caller, row, runtime.sealer, request.state.request_id)
    response.headers["Cache-Control"] = "no-store"
    return ApprovalArguments(approval_id=approval_id, kept=kept, arguments=arguments)


@router.post(
    "/{approval_id}/approve",
    operation_id="approve_approval",
    responses=problem_responses(409, 412),
    summary="Let the call through, once",
)
async def approve_approval(
    approval_id: ApprovalId,
    body: ApprovalDecision,
    caller: CanReadSelf,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> ApprovalView:
    """When the call is repeated with the same arguments, it runs, once. Needs the permission `approvals.decide` or
    membership of the group that the policy names; whose call it is may not."""
    row = await decide_approval(
        session, caller, approval_id, Verdict.APPROVED, body.reason, if_match,
        ttl=runtime.approval_ttl, request_id=request.state.request_id,
    )  # fmt: skip
    set_etag(response, row.revision)
    return await show_approval(session, caller, row, runtime.public_url)


@router.post(
    "/{approval_id}/deny",
    operation_id="deny_approval",
    responses=problem_responses(409, 412),
    summary="Refuse the call",
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
    """The caller is told, with the reason. Needs what approving needs."""
    row = await decide_approval(
        session, caller, approval_id, Verdict.DENIED, body.reason, if_match,
        ttl=runtime.approval_ttl, request_id=request.state.request_id,
    )  # fmt: skip
    set_etag(response, row.revision)
    return await show_approval(session, caller, row, runtime.public_url)
