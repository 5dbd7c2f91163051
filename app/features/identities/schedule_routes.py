"""``/scheduled-offboardings``: list, read and cancel scheduled offboardings."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.features.identities.schedule import cancel_scheduled, read_scheduled
from app.features.identities.schedule_queries import select_scheduled
from app.features.identities.schemas import ScheduledOffboardingQuery, ScheduledOffboardingView
from app.http.authorization import Caller, Permission, requires
from app.http.etags import IfMatch, set_etag
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import ScheduledOffboardingId
from app.models.tokens import ScheduledOffboarding

router = APIRouter(
    prefix="/api/v1/scheduled-offboardings",
    tags=["scheduled-offboardings"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS,
)
CanOffboard = Annotated[Caller, requires(Permission.IDENTITIES_OFFBOARD)]


@router.get(
    "",
    dependencies=[requires(Permission.IDENTITIES_READ)],
    operation_id="list_scheduled_offboardings",
    summary="List scheduled offboardings, newest first",
)
async def list_scheduled_offboardings(
    query: Annotated[ScheduledOffboardingQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[ScheduledOffboardingView]:
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_scheduled_offboardings", query.filters())
    rows, following = await read_page(session, select_scheduled(query), ScheduledOffboarding, cursors, query)
    return Page(items=[ScheduledOffboardingView.from_row(row) for row in rows], next_cursor=following)


@router.get(
    "/{scheduled_offboarding_id}",
    dependencies=[requires(Permission.IDENTITIES_READ)],
    operation_id="get_scheduled_offboarding",
    summary="Read one scheduled offboarding",
)
async def get_scheduled_offboarding(
    scheduled_offboarding_id: ScheduledOffboardingId, session: Session, response: Response
) -> ScheduledOffboardingView:
    row = await read_scheduled(session, scheduled_offboarding_id)
    set_etag(response, row.revision)
    return ScheduledOffboardingView.from_row(row)


@router.delete(
    "/{scheduled_offboarding_id}",
    operation_id="cancel_scheduled_offboarding",
    responses=problem_responses(409, 412),
    summary="Cancel a scheduled offboarding",
)
async def cancel_scheduled_offboarding(
    scheduled_offboarding_id: ScheduledOffboardingId,
    caller: CanOffboard,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> ScheduledOffboardingView:
    """Cancels it. A repeat changes nothing; one that has happened cannot be cancelled."""
    request_id = request.state.request_id
    row = await cancel_scheduled(session, caller, scheduled_offboarding_id, if_match, request_id)
    set_etag(response, row.revision)
    return ScheduledOffboardingView.from_row(row)
