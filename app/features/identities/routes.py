"""REST routes of identities. Ending one (DELETE, offboard) also ends tokens, so it stands with the tokens."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.features.identities import service
from app.features.identities.queries import SORTS, links_of, select_identities
from app.features.identities.schemas import (
    IdentityCreate,
    IdentityQuery,
    IdentityUpdate,
    IdentityView,
)
from app.http.authorization import Caller, Permission, requires
from app.http.etags import IfMatch, set_etag
from app.http.idempotency import once
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import IDENTITY, IdentityId, format_id
from app.models.identities import Identity

router = APIRouter(
    prefix="/api/v1/identities",
    tags=["identities"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS | problem_responses(412),
)

CanWrite = Annotated[Caller, requires(Permission.IDENTITIES_WRITE)]


async def _answer(session: Session, response: Response, identity: Identity) -> IdentityView:
    set_etag(response, identity.revision)
    links = await links_of(session, [identity.id])
    return IdentityView.from_row(identity, links[identity.id])


@router.get(
    "",
    dependencies=[requires(Permission.IDENTITIES_READ)],
    operation_id="list_identities",
    summary="List identities, newest first",
)
async def list_identities(
    query: Annotated[IdentityQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[IdentityView]:
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_identities", query.filters())
    rows, next_cursor = await read_page(session, select_identities(query), Identity, cursors, query, SORTS)
    links = await links_of(session, [row.id for row in rows])
    return Page(items=[IdentityView.from_row(row, links[row.id]) for row in rows], next_cursor=next_cursor)


@router.post(
    "",
    status_code=201,
    operation_id="create_identity",
    responses=problem_responses(409),
    summary="Create a person or an agent",
)
@once
async def create_identity(
    body: IdentityCreate,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
) -> IdentityView:
    identity = await service.create_identity(session, caller, body, runtime.clock, request.state.request_id)
    response.headers["Location"] = f"/api/v1/identities/{format_id(IDENTITY, identity.id)}"
    return await _answer(session, response, identity)


@router.get(
    "/{identity_id}",
    dependencies=[requires(Permission.IDENTITIES_READ)],
    operation_id="get_identity",
    summary="Read one identity",
)
async def get_identity(identity_id: IdentityId, session: Session, response: Response) -> IdentityView:
    return await _answer(session, response, await service.find_identity(session, identity_id))


@router.patch(
    "/{identity_id}",
    operation_id="update_identity",
    responses=problem_responses(409),
    summary="Change an identity",
)
async def update_identity(
    identity_id: IdentityId,
    body: IdentityUpdate,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> IdentityView:
    identity = await service.lock_for_update(session, identity_id, body)
    if_match.check(identity.revision)
    identity = await service.update_identity(
        session, caller, identity, body, runtime.clock, request.state.request_id
    )
    return await _answer(session, response, identity)


@router.post(
    "/{identity_id}/suspend",
    operation_id="suspend_identity",
    responses=problem_responses(409),
    summary="Suspend an identity",
)
async def suspend_identity(
    identity_id: IdentityId,
    caller: CanWrite,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> IdentityView:
    """Every call of it stops, and of the agents it answers for, until it is reinstated."""
    identity = await service.lock_found_identity(session, identity_id)
    if_match.check(identity.revision)
    identity = await service.suspend_identity(session, caller, identity, request.state.request_id)
    return await _answer(session, response, identity)


@router.post(
    "/{identity_id}/reinstate",
    operation_id="reinstate_identity",
    responses=problem_responses(409),
    summary="Reinstate an identity",
)
async def reinstate_identity(
    identity_id: IdentityId,
    caller: CanWrite,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> IdentityView:
    """A suspended or offboarded identity is active again. What was revoked stays revoked."""
    identity, owner = await service.lock_with_owner(session, identity_id)
    if_match.check(identity.revision)
    identity = await service.reinstate_identity(session, caller, identity, owner, request.state.request_id)
    return await _answer(session, response, identity)
