"""REST routes of groups and their members."""

from typing import Annotated, Literal

from fastapi import Query, Response

from app.db.change import Change
from app.features.groups import schemas, service
from app.http.authorization import Caller, Permission, changes, requires
from app.http.etags import TAGGED, IfMatch, set_etag
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router
from app.lib.ids import GROUP, IDENTITY, GroupId, IdentityId, format_id

router = api_router("groups")
CanRead = Annotated[Caller, requires(Permission.GROUPS_READ)]
CanWrite = Annotated[Change, changes(Permission.GROUPS_WRITE)]


@router.get("", summary="List groups, newest first")
async def list_groups(
    query: Annotated[schemas.GroupQuery, Query()], caller: CanRead, session: Session, runtime: CurrentRuntime
) -> Page[schemas.GroupView]:
    return schemas.GroupView.page(*await service.list_groups(session, caller, query, runtime))


@router.post("", status_code=201, summary="Create a group")
async def create_group(body: schemas.GroupCreate, change: CanWrite) -> schemas.GroupView:
    group = await service.create_group(change, body)
    return schemas.GroupView.from_row(group)


@router.get("/{group_id}", summary="Read one group")
async def get_group(
    group_id: GroupId,
    caller: CanRead,
    session: Session,
    include: Annotated[
        Literal["ended"] | None, Query(description="`ended`: also when it has ended; needs `audit.read`.")
    ] = None,
) -> schemas.GroupView:
    return schemas.GroupView.from_row(
        await service.get_group(session, caller, group_id, ended=include is not None)
    )


@router.patch("/{group_id}", responses=problem_responses(409), summary="Change a group")
async def update_group(
    group_id: GroupId, body: schemas.GroupUpdate, change: CanWrite, if_match: IfMatch
) -> schemas.GroupView:
    return schemas.GroupView.from_row(await service.update_group(change, group_id, body, if_match))


@router.delete("/{group_id}", status_code=204, summary="End a group, its grants and its memberships")
async def delete_group(group_id: GroupId, change: CanWrite, if_match: IfMatch) -> None:
    await service.end_group(change, group_id, if_match)


@router.get("/{group_id}/members", summary="List the members of a group, newest first")
async def list_group_members(
    group_id: GroupId,
    query: Annotated[schemas.MemberQuery, Query()],
    caller: CanRead,
    session: Session,
    runtime: CurrentRuntime,
) -> Page[schemas.MemberView]:
    rows, next_cursor = await service.list_members(session, caller, group_id, query, runtime)
    return Page(items=[schemas.MemberView.from_row(row) for row in rows], next_cursor=next_cursor)


@router.get("/{group_id}/members/{identity_id}", summary="Read one membership", responses={200: TAGGED})
async def get_group_member(
    group_id: GroupId, identity_id: IdentityId, caller: CanRead, session: Session, response: Response
) -> schemas.MemberView:
    member = await service.get_member(session, caller, group_id, identity_id)
    set_etag(response, member.id.hex)
    return schemas.MemberView.from_row(member)


@router.put(
    "/{group_id}/members/{identity_id}",
    summary="Add an identity to a group",
    responses=problem_responses(409)
    | {
        200: TAGGED,
        201: TAGGED | {"model": schemas.MemberView, "description": "The identity was added to the group."},
    },
)
async def add_group_member(
    group_id: GroupId, identity_id: IdentityId, change: CanWrite, if_match: IfMatch, response: Response
) -> schemas.MemberView:
    member, new = await service.add_member(change, group_id, identity_id, if_match)
    set_etag(response, member.id.hex)
    if new:
        response.status_code = 201
        response.headers["Location"] = (
            f"/api/v1/groups/{format_id(GROUP, group_id)}/members/{format_id(IDENTITY, identity_id)}"
        )
    return schemas.MemberView.from_row(member)


@router.delete(
    "/{group_id}/members/{identity_id}", status_code=204, summary="Remove an identity from a group"
)
async def remove_group_member(
    group_id: GroupId, identity_id: IdentityId, change: CanWrite, if_match: IfMatch
) -> None:
    await service.remove_member(change, group_id, identity_id, if_match)
