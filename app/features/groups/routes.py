"""REST routes of groups. Those that touch what a group was granted (members, end) stand with the grants."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select
from sqlmodel import col

from app.domain.errors import NotFound
from app.features.groups import service
from app.features.groups.queries import SORTS, lock_group, membership, select_groups
from app.features.groups.schemas import (
    GroupCreate,
    GroupQuery,
    GroupUpdate,
    GroupView,
    MemberQuery,
    MemberView,
)
from app.http.authorization import Caller, Permission, authorize, requires
from app.http.etags import TAGGED, IfMatch, set_etag
from app.http.idempotency import once
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import GROUP, GroupId, IdentityId, format_id
from app.models.groups import Group, GroupMember

router = APIRouter(
    prefix="/api/v1/groups",
    tags=["groups"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS | problem_responses(412),
)

CanRead = Annotated[Caller, requires(Permission.GROUPS_READ)]
CanWrite = Annotated[Caller, requires(Permission.GROUPS_WRITE)]


def _answer(response: Response, group: Group) -> GroupView:
    set_etag(response, group.revision)
    return GroupView.from_row(group)


@router.get("", operation_id="list_groups", summary="List groups, newest first")
async def list_groups(
    query: Annotated[GroupQuery, Query()], caller: CanRead, session: Session, runtime: CurrentRuntime
) -> Page[GroupView]:
    if query.include is not None:
        authorize(caller, Permission.AUDIT_READ)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_groups", query.filters())
    rows, next_cursor = await read_page(session, select_groups(query), Group, cursors, query, SORTS)
    return Page(items=[GroupView.from_row(row) for row in rows], next_cursor=next_cursor)


@router.post(
    "",
    status_code=201,
    operation_id="create_group",
    responses=problem_responses(409),
    summary="Create a group",
)
@once
async def create_group(
    body: GroupCreate, caller: CanWrite, session: Session, request: Request, response: Response
) -> GroupView:
    group = await service.create_group(session, caller, body, request.state.request_id)
    response.headers["Location"] = f"/api/v1/groups/{format_id(GROUP, group.id)}"
    return _answer(response, group)


@router.get("/{group_id}", operation_id="get_group", summary="Read one group")
async def get_group(
    group_id: GroupId,
    caller: CanRead,
    session: Session,
    response: Response,
    include: Annotated[
        Literal["ended"] | None, Query(description="`ended`: also when it has ended; needs `audit.read`.")
    ] = None,
) -> GroupView:
    group = await session.get(Group, group_id)
    if include is not None and group is not None:
        authorize(caller, Permission.AUDIT_READ)
        return _answer(response, group)
    return _answer(response, service.live(group))


@router.patch(
    "/{group_id}", operation_id="update_group", responses=problem_responses(409), summary="Change a group"
)
async def update_group(
    group_id: GroupId,
    body: GroupUpdate,
    caller: CanWrite,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> GroupView:
    group = service.live(await lock_group(session, group_id))
    if_match.check(group.revision)
    group = await service.update_group(session, caller, group, body, request.state.request_id)
    return _answer(response, group)


@router.get(
    "/{group_id}/members",
    dependencies=[requires(Permission.GROUPS_READ)],
    operation_id="list_group_members",
    summary="List the members of a group, those who joined last first",
)
async def list_group_members(
    group_id: GroupId, query: Annotated[MemberQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[MemberView]:
    service.live(await session.get(Group, group_id))
    filters = query.filters() | {"group_id": group_id}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_group_members", filters)
    statement = select(GroupMember).where(col(GroupMember.group_id) == group_id)
    rows, next_cursor = await read_page(session, statement, GroupMember, cursors, query)
    return Page(items=[MemberView.from_row(row) for row in rows], next_cursor=next_cursor)


@router.get(
    "/{group_id}/members/{identity_id}",
    dependencies=[requires(Permission.GROUPS_READ)],
    operation_id="get_group_member",
    summary="Read one membership",
    responses={200: TAGGED},
)
async def get_group_member(
    group_id: GroupId, identity_id: IdentityId, session: Session, response: Response
) -> MemberView:
    service.live(await session.get(Group, group_id))
    member = await membership(session, group_id, identity_id)
    if member is None:
        raise NotFound("This identity is not in the group.")
    set_etag(response, member.id.hex)
    return MemberView.from_row(member)
