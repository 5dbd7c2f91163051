"""``/me``: the caller's roles, permissions, agents, tokens and pickup links, and the servers that they can request."""

from typing import Annotated, Literal, cast

from fastapi import Query, Request
from pydantic import Field
from typing_extensions import TypeAliasType

from app.access.snapshot import CurrentSnapshot
from app.db.change import Change
from app.features.access import reach
from app.features.access.reach import AccessQuery, IdentityAccessView
from app.features.approvals import service as approvals
from app.features.approvals.schemas import RequestableQuery, RequestableServer
from app.features.audit.queries import names_of
from app.features.audit.schemas import show_id
from app.features.identities import service as identities
from app.features.identities.schemas import IdentityView, OwnAgentQuery
from app.features.tokens import pickups, schemas
from app.features.tokens import service as tokens
from app.features.tokens.connection_check import CurrentChecks
from app.features.tokens.routes import DryRun, reveal
from app.http.authorization import CanReadSelf, Permission, Role, changes, requires
from app.http.etags import IfMatch
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.schemas import Strict, example
from app.http.transaction import Session, api_router
from app.lib.ids import IdentityId, PickupId, TokenId

router = api_router("me")
CanOpen = Annotated[Change, changes(Permission.SELF_READ)]
CanChange = Annotated[Change, changes(Permission.SELF_WRITE)]


@router.get("/agents", summary="List your own agents, newest first")
async def list_own_agents(
    query: Annotated[OwnAgentQuery, Query()], caller: CanReadSelf, session: Session, runtime: CurrentRuntime
) -> Page[IdentityView]:
    """The agents that you own."""
    return await identities.list_own_agents(session, caller, query, runtime)


@router.get("/tokens", summary="List your own tokens, newest first")
async def list_own_tokens(
    query: Annotated[schemas.TokenQuery, Query()],
    caller: CanReadSelf,
    session: Session,
    runtime: CurrentRuntime,
) -> Page[schemas.TokenView]:
    """Your tokens and those of your agents. Only people who sign in themselves have any."""
    return await tokens.list_own_tokens(session, caller, query, runtime)


@router.post(
    "/tokens/{token_id}/rotate", responses=problem_responses(409), summary="Rotate a token of your own"
)
async def rotate_own_token(
    token_id: TokenId,
    body: schemas.TokenRotate,
    change: CanChange,
    runtime: CurrentRuntime,
    if_match: IfMatch,
) -> schemas.TokenSecretView:
    """Scope and expiry stay the same. Earlier secrets work for `overlap_s` more seconds.

    A token that an agent had before it was transferred to you needs a pickup link from a caller who issues tokens.
    """
    secret = await tokens.rotate_own_token(change, token_id, body, if_match, runtime.peppers)
    return reveal(runtime, await tokens.show_token(change.session, token_id), secret)


@router.post("/tokens/{token_id}/revoke", summary="Revoke a token of your own")
async def revoke_own_token(
    token_id: TokenId,
    body: schemas.TokenRevoke,
    change: CanChange,
    if_match: IfMatch,
    dry_run: DryRun = False,
) -> schemas.RevocationView:
    """Ends all its secrets, and every token attenuated from it. After the response, no new call can use it."""
    return await tokens.revoke_own_token(change, token_id, body, if_match, dry_run=dry_run)


@router.post("/tokens/{token_id}/check", summary="Check whether a token of your own works")
async def check_own_token(
    token_id: TokenId,
    body: schemas.ConnectionCheckRequest,
    change: CanChange,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
    checks: CurrentChecks,
    request: Request,
) -> schemas.ConnectionCheck:
    """Checks the given secret, the token, its identity, what it reaches and the last refusal, and asks the servers in
    reach whether they answer now. Each failed step has a remedy.

    Works for your own tokens and those of agents that you own.
    """
    await tokens.show_own_token(change.session, change.caller, token_id)
    return await checks.run(change, token_id, body, runtime, snapshot, request)


@router.get("/pickups", summary="List your pending pickup links")
async def list_own_pickups(
    query: Annotated[schemas.PickupQuery, Query()],
    caller: CanReadSelf,
    session: Session,
    runtime: CurrentRuntime,
) -> Page[schemas.PickupView]:
    """Newest first, in case you lost the message with the link."""
    return await pickups.list_own_pickups(session, caller, query, runtime)


@router.get("/pickups/{pickup_id}", summary="Read a pickup link of your own")
async def get_own_pickup(
    pickup_id: PickupId, change: CanOpen, runtime: CurrentRuntime
) -> schemas.OwnPickupView:
    """The token and state of the link. Opening a link that was already used is audited and reported, since someone else
    may have used it."""
    return await pickups.open_pickup(change, pickup_id, runtime)


@router.post(
    "/pickups/{pickup_id}/take", responses=problem_responses(409), summary="Pick up the secret of a token"
)
async def take_own_pickup(
    pickup_id: PickupId, change: CanChange, runtime: CurrentRuntime, if_match: IfMatch
) -> schemas.TokenSecretView:
    """Works once, for its recipient. The secret is created now and only in this response. For a used link the error has
    the time of its use, and the attempt is audited."""
    token_id, secret = await pickups.take_pickup(change, pickup_id, if_match, runtime.peppers)
    return reveal(runtime, await tokens.show_token(change.session, token_id), secret)


@router.get(
    "/requestable-servers",
    dependencies=[requires(Permission.SELF_READ)],
    summary="List the servers that you can request, newest first",
)
async def list_requestable_servers(
    query: Annotated[RequestableQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[RequestableServer]:
    """Servers with `requestable`, each with its active tools. Request access by `POST /api/v1/approvals`."""
    return await approvals.list_requestable(session, query, runtime)


CallerType = TypeAliasType(
    "CallerType",
    Annotated[
        Literal["administrator", "break_glass", "identity", "service_account"],
        Field(description="The type of the caller."),
    ],
)


class Me(Strict):
    """The caller of this request."""

    model_config = example(
        {
            "type": "administrator",
            "id": "adm_01jdpnwz00e008000000000000",
            "name": "Ada",
            "identity_id": "idn_01jdpnwz00e008000000000000",
            "role": "auditor",
            "roles": ["auditor"],
            "permissions": ["audit.read", "self.read"],
        }
    )
    type: CallerType = Field(
        description="The type of the caller; `identity` is a signed-in person without a role, `break_glass` "
        "the break-glass administrator."
    )
    id: str = Field(description="The id of an object of this type; of a session for `break_glass`.")
    name: str | None = Field(description="Its current name.")
    identity_id: IdentityId | None = Field(
        description="The person who signed in, or the owner of a service account. Null for `break_glass`."
    )
    role: Role | None = Field(description="The strongest of the roles.")
    roles: list[Role] = Field(description="The roles, by name.")
    permissions: list[Permission] = Field(description="The permissions of the roles, sorted.")


@router.get("")
async def get_me(caller: CanReadSelf, session: Session) -> Me:
    """Read your roles and permissions."""
    return Me(
        type=cast("CallerType", caller.kind),
        id=cast("str", show_id(caller.kind, caller.id)),
        name=(await names_of(session, [caller.id])).get(caller.id),
        identity_id=caller.identity_id,
        role=caller.role,
        roles=sorted(caller.roles),
        permissions=sorted(caller.permissions),
    )


@router.get("/access", summary="List what you reach, and why, by slug")
async def list_own_access(
    query: Annotated[AccessQuery, Query()],
    caller: CanReadSelf,
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> IdentityAccessView:
    """What your live grants and those of your groups reach, decided as calls are. Only people who sign in have access
    of their own here. Callers who may read grants read the access of an agent at `/identities/{id}/access`."""
    return await reach.list_identity_access(session, snapshot, tokens.person_of(caller), query, runtime)
