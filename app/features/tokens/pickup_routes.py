"""``/tokens/{id}/pickups``: links by which people pick up secrets that no one else sees."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.features.tokens.pickups import cancel_pickup, create_pickup, require_pickup
from app.features.tokens.queries import find_pickups, select_pickups
from app.features.tokens.routes import CanIssue, show_token
from app.features.tokens.schemas import PickupCreate, PickupQuery, PickupView
from app.http.authorization import Permission, requires
from app.http.etags import IfMatch, set_etag
from app.http.idempotency import once
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import PICKUP, TOKEN, PickupId, TokenId, format_id
from app.models.tokens import TokenPickup

router = APIRouter(
    prefix="/api/v1/tokens/{token_id}/pickups",
    tags=["tokens"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS,
)


@router.get(
    "",
    dependencies=[requires(Permission.TOKENS_READ)],
    operation_id="list_token_pickups",
    summary="List a token's pickup links, newest first",
)
async def list_token_pickups(
    token_id: TokenId, query: Annotated[PickupQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[PickupView]:
    """All links with their states; at most one is pending."""
    await show_token(session, token_id)
    filters = query.filters() | {"token_id": token_id}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_token_pickups", filters)
    rows, following = await read_page(session, select_pickups(token_id), TokenPickup, cursors, query)
    readings = await find_pickups(session, [row.id for row in rows])
    shown = [PickupView.from_reading(readings[row.id], runtime.public_url) for row in rows]
    return Page(items=shown, next_cursor=following)


@router.post(
    "",
    status_code=201,
    operation_id="create_token_pickup",
    responses=problem_responses(409),
    summary="Create a pickup link for a token",
)
@once
async def create_token_pickup(
    token_id: TokenId,
    body: PickupCreate,
    caller: CanIssue,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
) -> PickupView:
    """For a person who lost the secret, or the link. Once it is used, earlier secrets work for `overlap_s` more
    seconds; until then nothing changes for them. A pending link is cancelled."""
    reading = await create_pickup(
        session, caller, token_id,
        overlap_s=body.overlap_s, ttl=runtime.pickup_ttl, request_id=request.state.request_id,
    )  # fmt: skip
    place = f"/api/v1/tokens/{format_id(TOKEN, token_id)}/pickups"
    response.headers["Location"] = f"{place}/{format_id(PICKUP, reading.row.id)}"
    set_etag(response, reading.row.revision)
    return PickupView.from_reading(reading, runtime.public_url)


@router.get(
    "/{pickup_id}",
    dependencies=[requires(Permission.TOKENS_READ)],
    operation_id="get_token_pickup",
    summary="Read a pickup link",
)
async def get_token_pickup(
    token_id: TokenId, pickup_id: PickupId, session: Session, runtime: CurrentRuntime, response: Response
) -> PickupView:
    """The state of the link, and when it was used."""
    pickup = await require_pickup(session, token_id, pickup_id)
    set_etag(response, pickup.row.revision)
    return PickupView.from_reading(pickup, runtime.public_url)


@router.delete(
    "/{pickup_id}",
    operation_id="cancel_token_pickup",
    responses=problem_responses(409, 412),
    summary="Cancel a pickup link",
)
async def cancel_token_pickup(
    token_id: TokenId,
    pickup_id: PickupId,
    caller: CanIssue,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> PickupView:
    """It can no longer be used. A repeat changes nothing; a used link cannot be cancelled."""
    pickup = await cancel_pickup(session, caller, token_id, pickup_id, if_match, request.state.request_id)
    set_etag(response, pickup.row.revision)
    return PickupView.from_reading(pickup, runtime.public_url)
