"""REST routes of grants."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.grants import change, service
from app.features.grants.queries import SORTS, lock_grant, select_grants
from app.features.grants.schemas import GrantCreate, GrantQuery, GrantUpdate, GrantView
from app.features.tools.reach_queries import Selected, find_reach, may_see
from app.http.authorization import Caller, Permission, authorize, requires
from app.http.etags import IfMatch, set_etag
from app.http.idempotency import once
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import GRANT, GrantId, format_id
from app.models.grants import Grant

router = APIRouter(
    prefix="/api/v1/grants",
    tags=["grants"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS | problem_responses(412),
)

CanRead = Annotated[Caller, requires(Permission.GRANTS_READ)]
CanWrite = Annotated[Caller, requires(Permission.GRANTS_WRITE)]


async def _answer(
    response: Response, session: AsyncSession, runtime: Runtime, caller: Caller, grant: Grant
) -> GrantView:
    set_etag(response, grant.revision)
    return await show_grant(session, runtime, caller, grant)


async def show_grant(session: AsyncSession, runtime: Runtime, caller: Caller, grant: Grant) -> GrantView:
    """The answer for one grant, with what it reaches now where the caller may see that."""
    found = await find_reach(session, [Selected(grant.servers, grant.tools)]) if may_see(caller) else None
    return GrantView.from_row(grant, runtime.clock(), found)


@router.get("", operation_id="list_grants", summary="List grants, newest first")
async def list_grants(
    query: Annotated[GrantQuery, Query()], caller: CanRead, session: Session, runtime: CurrentRuntime
) -> Page[GrantView]:
    if query.asks_for_ended():
        authorize(caller, Permission.AUDIT_READ)
    now = runtime.clock()
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_grants", query.filters())
    rows, next_cursor = await read_page(session, select_grants(query, now), Grant, cursors, query, SORTS)
    return Page(items=[GrantView.from_row(row, now) for row in rows], next_cursor=next_cursor)


@router.post("", status_code=201, operation_id="create_grant", summary="Give a right")
@once
async def create_grant(
    body: GrantCreate,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
) -> GrantView:
    grant = await service.create_grant(session, caller, body, runtime.clock(), request.state.request_id)
    response.headers["Location"] = f"/api/v1/grants/{format_id(GRANT, grant.id)}"
    return await _answer(response, session, runtime, caller, grant)


@router.get("/{grant_id}", operation_id="get_grant", summary="Read one grant")
async def get_grant(
    grant_id: GrantId,
    caller: CanRead,
    session: Session,
    runtime: CurrentRuntime,
    response: Response,
    include: Annotated[
        Literal["ended"] | None, Query(description="`ended`: also when it has ended; needs `audit.read`.")
    ] = None,
) -> GrantView:
    grant = await session.get(Grant, grant_id)
    if include is not None and grant is not None:
        authorize(caller, Permission.AUDIT_READ)
        return await _answer(response, session, runtime, caller, grant)
    return await _answer(response, session, runtime, caller, service.live(grant))


@router.patch("/{grant_id}", operation_id="update_grant", summary="Change a grant, tokens in use included")
async def update_grant(
    grant_id: GrantId,
    body: GrantUpdate,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> GrantView:
    grant = service.live(await lock_grant(session, grant_id))
    if_match.check(grant.revision)
    grant = await change.update_grant(session, caller, grant, body, runtime.clock(), request.state.request_id)
    return await _answer(response, session, runtime, caller, grant)


@router.delete("/{grant_id}", status_code=204, operation_id="delete_grant", summary="End a grant")
async def delete_grant(
    grant_id: GrantId,
    caller: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
) -> None:
    grant = service.live(await lock_grant(session, grant_id))
    if_match.check(grant.revision)
    await change.end_grant(session, caller, grant, runtime.clock(), request.state.request_id)
