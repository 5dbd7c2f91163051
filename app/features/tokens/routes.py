"""``/tokens``: issue, read, narrow, rotate, check and revoke scoped tokens, and their pickup links."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import CurrentSnapshot
from app.db.change import Change
from app.features.tokens import pickups, schemas, service
from app.features.tokens.connection_check import CurrentChecks
from app.features.tokens.queries import PickupReading, bulk_conditions
from app.http.authorization import Caller, Permission, changes, requires
from app.http.etags import IfMatch
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, api_router
from app.lib.ids import PickupId, TokenId

router = api_router("tokens")

CanRead = Annotated[Caller, requires(Permission.TOKENS_READ)]
CanIssue = Annotated[Change, changes(Permission.TOKENS_ISSUE)]
CanRevoke = Annotated[Change, changes(Permission.TOKENS_REVOKE)]
CanCheck = Annotated[Change, changes(Permission.TOKENS_READ)]
DryRun = Annotated[bool, Query(description="Return what would change, and change nothing.")]


def reveal(
    runtime: Runtime, view: schemas.TokenView, secret: str | None, pickup: PickupReading | None = None
) -> schemas.TokenSecretView:
    """Build the only response with the secret, or with its recipient; it must not be cached."""
    return schemas.TokenSecretView(
        secret=secret,
        secret_available=secret is not None,
        token=view,
        connect=schemas.connect_settings(runtime.public_url),
        pickup=None if pickup is None else schemas.PickupView.from_reading(pickup, runtime.public_url),
    )


async def _show(session: AsyncSession, caller: Caller, token_id: UUID) -> schemas.TokenView:
    return await service.with_reach(session, caller, await service.show_token(session, token_id))


@router.get("", dependencies=[requires(Permission.TOKENS_READ)], summary="List tokens, newest first")
async def list_tokens(
    query: Annotated[schemas.TokenQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[schemas.TokenView]:
    return await service.list_tokens(session, query, runtime)


@router.post("", status_code=201, summary="Issue or attenuate a token")
async def create_token(
    body: schemas.TokenCreate, change: CanIssue, runtime: CurrentRuntime
) -> schemas.TokenSecretView:
    """Only this response has the secret; with `delivery: pickup` it is created when its recipient signs in and uses the
    link in `pickup`."""
    issued = await service.issue_token(change, body, runtime)
    shown = await service.with_reach(change.session, change.caller, issued.token)
    return reveal(runtime, shown, issued.secret, issued.pickup)


@router.post("/bulk-revoke", summary="Revoke all matching tokens")
async def bulk_revoke_tokens(
    body: schemas.TokensRevoke, change: CanRevoke, dry_run: DryRun = False
) -> schemas.BulkRevocationView:
    """Revokes them in one transaction, with every token attenuated from them."""
    conditions = bulk_conditions(body.filter)
    revoked = await service.revoke_tokens(change, conditions, body.reason, dry_run=dry_run)
    return schemas.BulkRevocationView(changed=bool(revoked.tokens), revoked=revoked)


@router.get("/{token_id}", summary="Read one token")
async def get_token(token_id: TokenId, caller: CanRead, session: Session) -> schemas.TokenView:
    return await _show(session, caller, token_id)


@router.patch("/{token_id}", responses=problem_responses(409), summary="Change a token")
async def narrow_token(
    token_id: TokenId, body: schemas.TokenUpdate, change: CanIssue, if_match: IfMatch
) -> schemas.TokenView:
    """A later expiry of child tokens is reduced too; their scope is limited by the parent's at each use anyway."""
    await service.narrow_token(change, token_id, body, if_match)
    return await _show(change.session, change.caller, token_id)


@router.post("/{token_id}/rotate", responses=problem_responses(409), summary="Rotate a token")
async def rotate_token(
    token_id: TokenId, body: schemas.TokenRotate, change: CanIssue, runtime: CurrentRuntime, if_match: IfMatch
) -> schemas.TokenSecretView:
    """Earlier secrets work for `overlap_s` more seconds, unless they expire before."""
    secret = await service.rotate_token(change, token_id, body, if_match, runtime.peppers)
    return reveal(runtime, await service.show_token(change.session, token_id), secret)


@router.post("/{token_id}/revoke", summary="Revoke a token")
async def revoke_token(
    token_id: TokenId,
    body: schemas.TokenRevoke,
    change: CanRevoke,
    if_match: IfMatch,
    dry_run: DryRun = False,
) -> schemas.RevocationView:
    """Ends all its secrets, and every token attenuated from it. After the response, no new call can use it."""
    return await service.revoke_token(change, token_id, body, if_match, dry_run=dry_run)


@router.get("/{token_id}/pickups", dependencies=[requires(Permission.TOKENS_READ)])
async def list_token_pickups(
    token_id: TokenId,
    query: Annotated[schemas.PickupQuery, Query()],
    session: Session,
    runtime: CurrentRuntime,
) -> Page[schemas.PickupView]:
    """List a token's pickup links, newest first. All links with their states; at most one is pending."""
    return await pickups.list_pickups(session, token_id, query, runtime)


@router.post("/{token_id}/pickups", status_code=201, summary="Create a pickup link for a token")
async def create_token_pickup(
    token_id: TokenId, body: schemas.PickupCreate, change: CanIssue, runtime: CurrentRuntime
) -> schemas.PickupView:
    """For a person who lost the secret, or the link. Once it is used, earlier secrets work for `overlap_s` more
    seconds; until then nothing changes for them. A pending link is cancelled."""
    pickup = await pickups.create_pickup(change, token_id, body, runtime)
    return schemas.PickupView.from_reading(pickup, runtime.public_url)


@router.get("/{token_id}/pickups/{pickup_id}", dependencies=[requires(Permission.TOKENS_READ)])
async def get_token_pickup(
    token_id: TokenId, pickup_id: PickupId, session: Session, runtime: CurrentRuntime
) -> schemas.PickupView:
    """Read a pickup link. The state of the link, and when it was used."""
    return schemas.PickupView.from_reading(
        await pickups.get_pickup(session, token_id, pickup_id), runtime.public_url
    )


@router.delete("/{token_id}/pickups/{pickup_id}", responses=problem_responses(409))
async def cancel_token_pickup(
    token_id: TokenId, pickup_id: PickupId, change: CanIssue, runtime: CurrentRuntime, if_match: IfMatch
) -> schemas.PickupView:
    """Cancel a pickup link. It can no longer be used. A repeat changes nothing; a used link cannot be cancelled."""
    pickup = await pickups.cancel_pickup(change, token_id, pickup_id, if_match)
    return schemas.PickupView.from_reading(pickup, runtime.public_url)


@router.post("/{token_id}/check", summary="Check whether a token works")
async def check_token(
    token_id: TokenId,
    body: schemas.ConnectionCheckRequest,
    change: CanCheck,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
    checks: CurrentChecks,
    request: Request,
) -> schemas.ConnectionCheck:
    """The same for any token. Callers who may explain access also see why the last request was refused, and callers who
    may read servers see why one does not answer."""
    return await checks.run(change, token_id, body, runtime, snapshot, request)
