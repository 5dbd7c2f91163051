"""REST routes of groups that touch what the group was granted: joining, leaving, ending it."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import Forbidden
from app.features.approvals.cancel import cancel_approvals
from app.features.approvals.models import Approval
from app.features.approvals.repository import open_approvals
from app.features.audit.record import close_versions, record
from app.features.grants.repository import group_holds_grants, lock_grants_of_group
from app.features.grants.service import told
from app.features.groups import service as groups
from app.features.groups.models import Group
from app.features.groups.named import check_may_shape
from app.features.groups.repository import lock_group
from app.features.groups.schemas import MemberView
from app.features.webhooks.messages import WebhookEvent
from app.features.webhooks.outbox import tell
from app.kit.authorization import Caller, Permission, requires
from app.kit.database import Session, TransactionalRoute
from app.kit.etags import TAGGED, IfMatch, set_etag
from app.kit.ids import GRANT, GROUP, IDENTITY, GroupId, IdentityId, format_id
from app.kit.problems import COMMON_PROBLEMS, problem_responses
from app.kit.runtime import CurrentRuntime
from app.kit.versions import move_versions

router = APIRouter(
    prefix="/api/v1/groups",
    tags=["groups"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS | problem_responses(412),
)

CanWrite = Annotated[Caller, requires(Permission.GROUPS_WRITE)]


async def check_may_change_members(session: AsyncSession, caller: Caller, group: Group) -> None:
    """Raise ``Forbidden`` where changing the members would be granting, for a caller who may not grant."""
    if caller.may(Permission.GRANTS_WRITE) or group.source != "manual":
        return
    if await group_holds_grants(session, group.id):
        raise Forbidden(
            "This group holds grants, so changing its members needs the permission "
            f"{Permission.GRANTS_WRITE.value}, which {caller.lacking}."
        )
    await check_may_shape(session, caller, group.name, group_id=group.id)


async def end_group(
    session: AsyncSession, caller: Caller, group: Group, now: datetime, request_id: str | None
) -> None:
    """End a group locked exclusively, with its memberships and grants, and the approvals that it was to decide, in
    one transaction."""
    grants = await lock_grants_of_group(session, group.id)
    # Before the memberships, as whoever decides one locks them.
    approvals = await open_approvals(session, col(Approval.approver_group_id) == group.id, lock=True)
    await cancel_approvals(session, caller, approvals, "group_ended", request_id)
    for grant in grants:
        grant.ended_at = now
        grant.revision += 1
    members = await groups.end_group(session, group, now)
    await close_versions(session, [grant.id for grant in grants])
    await move_versions(session, [group.id, *members, *(grant.id for grant in grants)], narrows=True)
    changes = {
        "ended_grants": [format_id(GRANT, grant.id) for grant in grants],
        "removed_members": [format_id(IDENTITY, id) for id in members],
    }
    event_id = await record(
        session, caller, "group.end", "group", group.id, changes=changes, request_id=request_id
    )
    await tell(session, *(told(WebhookEvent.GRANT_ENDED, grant, event_id) for grant in grants))


@router.delete(
    "/{group_id}",
    status_code=204,
    operation_id="delete_group",
    summary="End a group, its grants and its memberships",
)
async def delete_group(
    group_id: GroupId,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
) -> None:
    group = groups.live(await lock_group(session, group_id))
    if_match.check(group.revision)
    await check_may_change_members(session, caller, group)
    await end_group(session, caller, group, runtime.clock(), request.state.request_id)


@router.put(
    "/{group_id}/members/{identity_id}",
    operation_id="add_group_member",
    summary="Put an identity into a group",
    responses=problem_responses(409)
    | {
        200: TAGGED,
        201: TAGGED | {"model": MemberView, "description": "The identity is new in the group."},
    },
)
async def add_group_member(
    group_id: GroupId,
    identity_id: IdentityId,
    caller: CanWrite,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> MemberView:
    group = groups.live(await lock_group(session, group_id, share=True))
    await check_may_change_members(session, caller, group)
    request_id = request.state.request_id
    member, new = await groups.add_member(session, caller, group, identity_id, if_match, request_id)
    set_etag(response, member.id.hex)
    if new:
        response.status_code = 201
        response.headers["Location"] = (
            f"/api/v1/groups/{format_id(GROUP, group_id)}/members/{format_id(IDENTITY, identity_id)}"
        )
    return MemberView.from_row(member)


@router.delete(
    "/{group_id}/members/{identity_id}",
    status_code=204,
    operation_id="remove_group_member",
    summary="Take an identity out of a group",
)
async def remove_group_member(
    group_id: GroupId,
    identity_id: IdentityId,
    caller: CanWrite,
    session: Session,
    request: Request,
    if_match: IfMatch,
) -> None:
    group = groups.live(await lock_group(session, group_id, share=True))
    await check_may_change_members(session, caller, group)
    await groups.remove_member(session, caller, group, identity_id, if_match, request.state.request_id)
