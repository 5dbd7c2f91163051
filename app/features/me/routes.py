"""``/me``: who the caller is and what they may do.

REST route of one's own agents, for whoever answers for them.

``/me/tokens`` and ``/me/pickups``: what a person does with the tokens that are theirs, without any role.

REST route of the servers that can be asked for: what everybody sees who can sign in.
"""

from datetime import timedelta
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Query, Request, Response
from pydantic import ConfigDict, Field
from typing_extensions import TypeAliasType

from app.features.approvals.ask import select_requestable, show_requestable
from app.features.approvals.schemas import RequestableQuery, RequestableServer
from app.features.audit.names import names_of
from app.features.audit.schemas import show_id
from app.features.identities.routes import list_identities
from app.features.identities.schemas import IdentityQuery, IdentityView, OwnAgentQuery
from app.features.me.schemas import OwnPickupView
from app.features.tokens import queries
from app.features.tokens.own import SORTS, hold_own_token, hold_to_renew, person_of, select_own_tokens
from app.features.tokens.pickups import open_pickup, take_pickup
from app.features.tokens.queries import find_pickups, select_waiting
from app.features.tokens.routes import DryRun, reveal, revoke_one, show_token
from app.features.tokens.schemas import (
    PickupQuery,
    PickupView,
    RevocationView,
    TokenQuery,
    TokenRevoke,
    TokenRotate,
    TokenSecretView,
    TokenView,
)
from app.features.tokens.service import rotate_token
from app.http.authorization import CanReadSelf, CanWriteSelf, Permission, Role, requires
from app.http.etags import IfMatch, set_etag
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.schemas import Strict
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import IdentityId, PickupId, TokenId
from app.models.servers import Server
from app.models.tokens import Token, TokenPickup

router = APIRouter(
    prefix="/api/v1/me", tags=["me"], route_class=TransactionalRoute, responses=COMMON_PROBLEMS
)


@router.get("/agents", operation_id="list_own_agents", summary="List your own agents, newest first")
async def list_own_agents(
    query: Annotated[OwnAgentQuery, Query()], caller: CanReadSelf, session: Session, runtime: CurrentRuntime
) -> Page[IdentityView]:
    """The agents that you answer for."""
    if caller.identity_id is None:
        return Page(items=[], next_cursor=None)
    theirs = IdentityQuery(**query.model_dump(), kind=["agent"], owner_id=[caller.identity_id])
    return await list_identities(theirs, session, runtime)


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
    """Newest first, in case you lost the message with the link."""
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


@router.get(
    "/requestable-servers",
    dependencies=[requires(Permission.SELF_READ)],
    operation_id="list_requestable_servers",
    summary="List the servers that you can ask for, newest first",
)
async def list_requestable_servers(
    query: Annotated[RequestableQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[RequestableServer]:
    """Those whose administrators set `requestable`, each with its active tools. Ask by `POST /api/v1/approvals`."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_requestable_servers", query.filters())
    rows, next_cursor = await read_page(session, select_requestable(query.q), Server, cursors, query)
    return Page(items=await show_requestable(session, rows), next_cursor=next_cursor)


CallerType = TypeAliasType(
    "CallerType",
    Annotated[
        Literal["administrator", "break_glass", "identity", "service_account"],
        Field(description="What kind of caller it is."),
    ],
)


class Me(Strict):
    """The caller of this request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "administrator",
                    "id": "adm_01jdpnwz00e008000000000000",
                    "name": "Ada",
                    "identity_id": "idn_01jdpnwz00e008000000000000",
                    "role": "auditor",
                    "roles": ["auditor"],
                    "permissions": ["audit.read", "self.read"],
                }
            ]
        }
    )
    type: CallerType = Field(
        description="What kind of caller this is; `identity` is a signed-in person without a role, `break_glass`"
        " the local administrator."
    )
    id: str = Field(description="The id of an object of this type; of a session for `break_glass`.")
    name: str | None = Field(description="The name that it has now.")
    identity_id: IdentityId | None = Field(
        description="Who signed in, or who answers for a service account. None for `break_glass`."
    )
    role: Role | None = Field(description="The strongest of the roles.")
    roles: list[Role] = Field(description="The roles, by name.")
    permissions: list[Permission] = Field(description="What the roles may do, sorted.")


@router.get("", operation_id="get_me")
async def get_me(caller: CanReadSelf, session: Session) -> Me:
    """Read who you are, with roles and permissions."""
    return Me(
        type=cast("CallerType", caller.kind),
        id=cast("str", show_id(caller.kind, caller.id)),
        name=(await names_of(session, [caller.id])).get(caller.id),
        identity_id=caller.identity_id,
        role=caller.role,
        roles=sorted(caller.roles),
        permissions=sorted(caller.permissions),
    )
