"""REST routes of groups that touch what the group was granted: joining, leaving, ending it."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Forbidden
from app.features.grants.queries import group_holds_grants
from app.features.groups import service as groups
from app.features.groups.end import end_group
from app.features.groups.named import check_may_shape
from app.features.groups.queries import lock_group
from app.features.groups.schemas import MemberView
from app.features.servers.queries import owns_requestable
from app.http.authorization import Caller, Permission, requires
from app.http.etags import TAGGED, IfMatch, set_etag
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import GROUP, IDENTITY, GroupId, IdentityId, format_id
from app.models.groups import Group

router = APIRouter(
    prefix="/api/v1/groups",
    tags=["groups"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS | problem_responses(412),
)

CanWrite = Annotated[Caller, requires(Permission.GROUPS_WRITE)]


async def check_may_change_members(session: AsyncSession, caller: Caller, group: Group) -> None:
    """Raise ``Forbidden`` where changing the members would be granting, for a caller who may not grant.

    A directory changes the members of its own groups by SCIM, to people of its own; by this way anybody could be put
    into them.
    """
    if caller.may(Permission.GRANTS_WRITE):
        return
    if await group_holds_grants(session, group.id):
        raise Forbidden(
            "This group holds grants, so changing its members needs the permission "
            f"{Permission.GRANTS_WRITE.value}, which {caller.lacking}."
        )
    if await owns_requestable(session, group.id):
        raise Forbidden(
            "This group decides who gets access to a server, so changing its members needs the permission "
            f"{Permission.GRANTS_WRITE.value}, which {caller.lacking}."
        )
    await check_may_shape(session, caller, group.name, group_id=group.id)


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
