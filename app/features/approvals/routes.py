"""``/approvals``: decide the calls that policies ask about, and access requests.

Every identity may use these routes; what a caller sees and may decide is checked for each approval.
"""

from typing import Annotated

from fastapi import Query

from app.db.change import Change
from app.features.approvals import service
from app.features.approvals.schemas import (
    AccessRequest,
    ApprovalAgreement,
    ApprovalArguments,
    ApprovalDecision,
    ApprovalQuery,
    ApprovalView,
)
from app.http.authorization import CanReadSelf, Permission, changes
from app.http.etags import IfMatch
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router
from app.lib.ids import ApprovalId

router = api_router("approvals")
CanDecide = Annotated[Change, changes(Permission.SELF_READ)]
CanAsk = Annotated[Change, changes(Permission.SELF_WRITE)]


@router.get("", summary="List approvals, newest first")
async def list_approvals(
    query: Annotated[ApprovalQuery, Query()], caller: CanReadSelf, session: Session, runtime: CurrentRuntime
) -> Page[ApprovalView]:
    """All of them with the permission `approvals.read`; else your own requests, those of your agents, and those of your
    groups."""
    return await service.list_approvals(session, caller, query, runtime)


@router.post("", status_code=201, summary="Ask for access to a server")
async def create_approval(body: AccessRequest, change: CanAsk, runtime: CurrentRuntime) -> ApprovalView:
    """For yourself, or for an agent that you own, to a server of `GET /api/v1/me/requestable-servers`. The request
    gives no access by itself: members of the group that owns the server, or callers with `approvals.decide`, decide on
    it."""
    row = await service.ask_for_access(change, body)
    return await service.show_approval(change.session, change.caller, row, runtime.public_url)


@router.get("/{approval_id}", summary="Read one approval")
async def get_approval(
    approval_id: ApprovalId, caller: CanReadSelf, session: Session, runtime: CurrentRuntime
) -> ApprovalView:
    """The request, the requester, the reasons and the state."""
    row = await service.get_approval(session, caller, approval_id)
    return await service.show_approval(session, caller, row, runtime.public_url)


@router.get("/{approval_id}/arguments", summary="Read the arguments of a call")
async def get_approval_arguments(
    approval_id: ApprovalId, change: CanDecide, runtime: CurrentRuntime
) -> ApprovalArguments:
    """Works if the server keeps arguments. Needs the permission `arguments.read`, or that you can decide the approval
    as a member of its group. Each reading is an audit event."""
    row = await service.get_approval(change.session, change.caller, approval_id)
    return await service.read_arguments(change, row, runtime)


@router.post("/{approval_id}/deny", responses=problem_responses(409), summary="Deny an approval")
async def deny_approval(
    approval_id: ApprovalId,
    body: ApprovalDecision,
    change: CanDecide,
    runtime: CurrentRuntime,
    if_match: IfMatch,
) -> ApprovalView:
    """The requester gets the reason. Needs the same permission as approving."""
    row = await service.deny(change, approval_id, body, if_match)
    return await service.show_approval(change.session, change.caller, row, runtime.public_url)


@router.post("/{approval_id}/withdraw", responses=problem_responses(409))
async def withdraw_approval(
    approval_id: ApprovalId, change: CanAsk, runtime: CurrentRuntime, if_match: IfMatch
) -> ApprovalView:
    """Withdraw a request for access. Your own request, or one for an agent that you own, while it is pending."""
    row = await service.withdraw_request(change, approval_id, if_match)
    return await service.show_approval(change.session, change.caller, row, runtime.public_url)


@router.post(
    "/{approval_id}/approve",
    responses=problem_responses(409),
    summary="Approve a call, once, or a request for access",
)
async def approve_approval(
    approval_id: ApprovalId,
    body: ApprovalAgreement,
    change: CanDecide,
    runtime: CurrentRuntime,
    if_match: IfMatch,
) -> ApprovalView:
    """When the call is repeated with the same arguments, it runs, once. Access becomes a grant, as requested or
    narrowed by `access`. Needs the permission `approvals.decide` or membership of the group that decides; you cannot
    approve a call or request of your own."""
    row = await service.approve(change, approval_id, body, if_match, ttl=runtime.approval_ttl)
    return await service.show_approval(change.session, change.caller, row, runtime.public_url)
