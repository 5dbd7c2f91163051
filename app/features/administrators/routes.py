"""``/administrators``: the people who manage this deployment. One appears when a person signs in with a role."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.features.administrators import service
from app.features.administrators.queries import SORTS, assignments_of, select_administrators
from app.features.administrators.schemas import AdministratorQuery, AdministratorView
from app.http.authorization import Caller, Permission, requires
from app.http.etags import IfMatch, set_etag
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import AdministratorId
from app.models.identities import Administrator

router = APIRouter(
    prefix="/api/v1/administrators",
    tags=["administrators"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS,
)
CanWrite = Annotated[Caller, requires(Permission.ADMINISTRATORS_WRITE)]


async def _answer(session: Session, response: Response, administrator: Administrator) -> AdministratorView:
    set_etag(response, administrator.revision)
    assignments = await assignments_of(session, [administrator.id])
    return AdministratorView.from_row(administrator, assignments[administrator.id])


@router.get("", dependencies=[requires(Permission.ADMINISTRATORS_READ)], operation_id="list_administrators")
async def list_administrators(
    session: Session, runtime: CurrentRuntime, query: Annotated[AdministratorQuery, Query()]
) -> Page[AdministratorView]:
    """List administrators, newest first."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_administrators", query.filters())
    rows, following = await read_page(
        session, select_administrators(query), Administrator, cursors, query, SORTS
    )
    assignments = await assignments_of(session, [row.id for row in rows])
    items = [AdministratorView.from_row(row, assignments[row.id]) for row in rows]
    return Page(items=items, next_cursor=following)


@router.get(
    "/{administrator_id}",
    dependencies=[requires(Permission.ADMINISTRATORS_READ)],
    operation_id="get_administrator",
)
async def get_administrator(
    session: Session, response: Response, administrator_id: AdministratorId
) -> AdministratorView:
    """Read one administrator."""
    return await _answer(session, response, await service.load(session, administrator_id))


@router.post(
    "/{administrator_id}/disable", operation_id="disable_administrator", responses=problem_responses(409)
)
async def disable_administrator(
    caller: CanWrite,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
    administrator_id: AdministratorId,
) -> AdministratorView:
    """Disable an administrator, regardless of their token.

    The service accounts that they own keep working: suspend or offboard the identity to stop those too.
    """
    administrator, _ = await service.lock_with_person(session, administrator_id)
    if_match.check(administrator.revision)
    await service.disable(session, caller, administrator, request.state.request_id)
    return await _answer(session, response, administrator)


@router.post(
    "/{administrator_id}/enable",
    operation_id="enable_administrator",
    responses=problem_responses(409),
)
async def enable_administrator(
    caller: CanWrite,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
    administrator_id: AdministratorId,
) -> AdministratorView:
    """Enable a disabled administrator. The provider determines their roles."""
    administrator, person = await service.lock_with_person(session, administrator_id)
    if_match.check(administrator.revision)
    await service.enable(session, caller, administrator, person, request.state.request_id)
    return await _answer(session, response, administrator)
