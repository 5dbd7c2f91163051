"""REST route that approves: what it approves may become a grant."""

from fastapi import APIRouter, Request, Response

from app.features.approvals.approve_access import approve
from app.features.approvals.schemas import ApprovalAgreement, ApprovalView
from app.features.approvals.views import show_approval
from app.http.authorization import CanReadSelf
from app.http.etags import IfMatch, set_etag
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import ApprovalId

router = APIRouter(
    prefix="/api/v1/approvals",
    tags=["approvals"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS,
)


@router.post(
    "/{approval_id}/approve",
    operation_id="approve_approval",
    responses=problem_responses(409, 412),
    summary="Let the call through, once, or give the access",
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
    """When the call is repeated with the same arguments, it runs, once; access becomes a grant, as it was asked for or,
    by `access`, less of it. Needs the permission `approvals.decide` or membership of the group that decides; whose call
    or request it is may not."""
    row = await approve(
        session, caller, approval_id, body, if_match,
        ttl=runtime.approval_ttl, now=runtime.clock(), request_id=request.state.request_id,
    )  # fmt: skip
    set_etag(response, row.revision)
    return await show_approval(session, caller, row, runtime.public_url)
