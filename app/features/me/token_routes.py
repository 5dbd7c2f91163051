"""``/me/tokens`` and ``/me/pickups``: what a person does with the tokens that are theirs, without any role."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.features.me.token_schemas import OwnPickupView
from app.features.tokens import queries
from app.features.tokens.filters import SORTS
from app.features.tokens.own import hold_own_token, hold_to_renew, person_of, select_own_tokens
from app.features.tokens.pickup_queries import find_pickups, select_waiting
from app.features.tokens.pickup_schemas import PickupQuery, PickupView
from app.features.tokens.rotate import rotate_token
from app.features.tokens.routes import DryRun, reveal, revoke_one, show_token
from app.features.tokens.schemas import (
    RevocationView,
    TokenQuery,
    TokenRevoke,
    TokenRotate,
    TokenSecretView,
    TokenView,
)
from app.features.tokens.take import open_pickup, take_pickup
from app.http.authorization import CanReadSelf, CanWriteSelf
from app.http.etags import IfMatch, set_etag
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import PickupId, TokenId
from app.models.tokens import Token, TokenPickup

router = APIRouter(
    prefix="/api/v1/me", tags=["me"], route_class=TransactionalRoute, responses=COMMON_PROBLEMS
)


@router.get("/tokens", operation_id="list_own_tokens", summary="List your own tokens, newest first")
async def list_own_tokens(
    query: Annotated[TokenQuery, Query()], caller: CanReadSelf, session: Session, runtime: CurrentRuntime
) -> Page[TokenView]:
    """Yours and those of the agents that you answer for. People alone have some, who sign in themselves."""
    me = person_of(caller)
    filters = query.filters() | {"me": me}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_own_tokens", filters)
    found = await select_own_tokens(session, me, query)
    rows, following = await read_page(session, found, Token, cursors, query, SORTS)
    readings = await queries.find_readings(session, [row.id for row in rows])
    return Page(items=[TokenView.from_reading(readings[row.id]) for row in rows], next_cursor=following)


@router.post(
    "/tokens/{token_id}/rotate",
    operation_id="rotate_own_token",
    responses=problem_responses(409, 412),
    summary="Give a token of your own a new secret",
)
async def rotate_own_token(
    token_id: TokenId,
    body: TokenRotate,
    caller: CanWriteSelf,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> TokenSecretView:
    """What it may do and until when stays as it is. The secrets so far work for `overlap_s` more seconds.

    A token that an agent had before it was handed over to you is renewed by a pick-up link, from whoever issues tokens.
    """
    await hold_to_renew(session, person_of(caller), token_id)
    overlap, request_id = timedelta(seconds=body.overlap_s), request.state.request_id
    secret = await rotate_token(session, runtime, caller, token_id, overlap, if_match, request_id)
    return reveal(runtime, response, await show_token(session, token_id), secret)


@router.post(
    "/tokens/{token_id}/revoke",
    operation_id="revoke_own_token",
    responses=problem_responses(412),
    summary="End a token of your own at once",
)
async def revoke_own_token(
    token_id: TokenId,
    body: TokenRevoke,
    caller: CanWriteSelf,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
    dry_run: DryRun = False,
) -> RevocationView:
    """All its secrets end, and everything attenuated from it. When this has answered, no call with it begins."""
    await hold_own_token(session, person_of(caller), token_id)
    ended = await revoke_one(
        session, caller, token_id, body, if_match, dry_run=dry_run, request_id=request.state.request_id
    )
    set_etag(response, ended.token.revision)
    return ended


@router.get("/pickups", operation_id="list_own_pickups", summary="List the pick-up links that wait for you")
async def list_own_pickups(
    query: Annotated[PickupQuery, Query()], caller: CanReadSelf, session: Session, runtime: CurrentRuntime
) -> Page[PickupView]:
    """Newest first. Whoever lost the message with the link finds it here."""
    me = person_of(caller)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_own_pickups", query.filters() | {"me": me})
    rows, following = await read_page(session, select_waiting(me), TokenPickup, cursors, query)
    readings = await find_pickups(session, [row.id for row in rows])
    shown = [PickupView.from_reading(readings[row.id], runtime.public_url) for row in rows]
    return Page(items=shown, next_cursor=following)


@router.get("/pickups/{pickup_id}", operation_id="get_own_pickup", summary="Read a pick-up link for you")
async def get_own_pickup(
    pickup_id: PickupId,
    caller: CanReadSelf,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
) -> OwnPickupView:
    """What is behind it, and whether it still waits. That one is opened which was used already is on record, and told
    to whoever watches: it may not have been its recipient who used it."""
    found = await open_pickup(session, caller, pickup_id, request.state.request_id)
    set_etag(response, found.pickup.row.revision)
    pickup = PickupView.from_reading(found.pickup, runtime.public_url)
    return OwnPickupView(pickup=pickup, token=TokenView.from_reading(found.token))


@router.post(
    "/pickups/{pickup_id}/take",
    operation_id="take_own_pickup",
    responses=problem_responses(409, 412),
    summary="Take the secret that a pick-up link is for",
)
async def take_own_pickup(
    pickup_id: PickupId,
    caller: CanWriteSelf,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> TokenSecretView:
    """Once, by its recipient. The secret is made now, is in this answer and nowhere else. A link that was used says
    when, and that it was tried again is on record."""
    peppers, request_id = runtime.peppers, request.state.request_id
    token_id, secret = await take_pickup(session, peppers, caller, pickup_id, if_match, request_id)
    return reveal(runtime, response, await show_token(session, token_id), secret)
