"""``/tokens``: issue, read, narrow, rotate and revoke scoped tokens."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import NotFound
from app.features.tokens import queries
from app.features.tokens.own import SORTS, bulk_conditions, select_tokens
from app.features.tokens.queries import PickupReading
from app.features.tokens.reach import with_reach
from app.features.tokens.schemas import (
    BulkRevocationView,
    PickupView,
    RevocationView,
    RevokedTokens,
    TokenCreate,
    TokenQuery,
    TokenRevoke,
    TokenRotate,
    TokenSecretView,
    TokensRevoke,
    TokenUpdate,
    TokenView,
    connect_settings,
)
from app.features.tokens.service import issue_token, narrow_token, revoke_tokens, rotate_token
from app.http.authorization import Caller, Permission, requires
from app.http.etags import IfMatch, Precondition, set_etag
from app.http.idempotency import once
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import TOKEN, TokenId, format_id
from app.models.tokens import Token

router = APIRouter(
    prefix="/api/v1/tokens",
    tags=["tokens"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS | problem_responses(412),
)

CanRead = Annotated[Caller, requires(Permission.TOKENS_READ)]
CanIssue = Annotated[Caller, requires(Permission.TOKENS_ISSUE)]
CanRevoke = Annotated[Caller, requires(Permission.TOKENS_REVOKE)]
DryRun = Annotated[bool, Query(description="Return what would change, and change nothing.")]


async def show_token(session: AsyncSession, token_id: UUID) -> TokenView:
    """Read a token. Raises ``NotFound``."""
    reading = await queries.find_reading(session, token_id)
    if reading is None:
        raise NotFound("There is no such token.")
    return TokenView.from_reading(reading)


def reveal(
    runtime: Runtime,
    response: Response,
    view: TokenView,
    secret: str | None,
    pickup: PickupReading | None = None,
) -> TokenSecretView:
    """Build the only response with the secret, or with its recipient; it must not be cached."""
    set_etag(response, view.revision)
    response.headers["Cache-Control"] = "no-store"
    return TokenSecretView(
        secret=secret,
        secret_available=secret is not None,
        token=view,
        connect=connect_settings(runtime.public_url),
        pickup=None if pickup is None else PickupView.from_reading(pickup, runtime.public_url),
    )


@router.get(
    "",
    dependencies=[requires(Permission.TOKENS_READ)],
    operation_id="list_tokens",
    summary="List tokens, newest first",
)
async def list_tokens(
    query: Annotated[TokenQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[TokenView]:
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_tokens", query.filters())
    rows, next_cursor = await read_page(session, select_tokens(query), Token, cursors, query, SORTS)
    readings = await queries.find_readings(session, [row.id for row in rows])
    return Page(items=[TokenView.from_reading(readings[row.id]) for row in rows], next_cursor=next_cursor)


@router.post(
    "",
    status_code=201,
    operation_id="create_token",
    responses=problem_responses(409),
    summary="Issue or attenuate a token",
)
@once
async def create_token(
    body: TokenCreate,
    caller: CanIssue,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
) -> TokenSecretView:
    """Only this response has the secret; with `delivery: pickup` it is created when its recipient signs in and uses the
    link in `pickup`."""
    issued = await issue_token(session, runtime, caller, body, request.state.request_id)
    response.headers["Location"] = f"/api/v1/tokens/{format_id(TOKEN, issued.token.id)}"
    shown = await with_reach(session, caller, issued.token)
    return reveal(runtime, response, shown, issued.secret, issued.pickup)


@router.post("/bulk-revoke", operation_id="bulk_revoke_tokens", summary="Revoke all matching tokens")
async def bulk_revoke_tokens(
    body: TokensRevoke, caller: CanRevoke, session: Session, request: Request, dry_run: DryRun = False
) -> BulkRevocationView:
    """Revokes them in one transaction, with every token attenuated from them."""
    conditions = bulk_conditions(body.filter)
    revoked = await revoke_tokens(
        session, caller, conditions, body.reason, dry_run=dry_run, request_id=request.state.request_id
    )
    shown = RevokedTokens(tokens=revoked.tokens, in_flight=revoked.in_flight)
    return BulkRevocationView(changed=bool(revoked.tokens), revoked=shown)


@router.get("/{token_id}", operation_id="get_token", summary="Read one token")
async def get_token(token_id: TokenId, caller: CanRead, session: Session, response: Response) -> TokenView:
    view = await with_reach(session, caller, await show_token(session, token_id))
    set_etag(response, view.revision)
    return view


@router.patch(
    "/{token_id}",
    operation_id="narrow_token",
    responses=problem_responses(409),
    summary="Change a token",
)
async def patch_token(
    token_id: TokenId,
    body: TokenUpdate,
    caller: CanIssue,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> TokenView:
    """A later expiry of child tokens is reduced too; their scope is limited by the parent's at each use anyway."""
    await narrow_token(session, caller, token_id, body, if_match, request.state.request_id)
    view = await with_reach(session, caller, await show_token(session, token_id))
    set_etag(response, view.revision)
    return view


@router.post(
    "/{token_id}/rotate",
    operation_id="rotate_token",
    responses=problem_responses(409),
    summary="Rotate a token",
)
async def post_rotate(
    token_id: TokenId,
    body: TokenRotate,
    caller: CanIssue,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> TokenSecretView:
    """Earlier secrets work for `overlap_s` more seconds, unless they expire before."""
    overlap = timedelta(seconds=body.overlap_s)
    request_id = request.state.request_id
    secret = await rotate_token(session, runtime, caller, token_id, overlap, if_match, request_id)
    return reveal(runtime, response, await show_token(session, token_id), secret)


@router.post("/{token_id}/revoke", operation_id="revoke_token", summary="Revoke a token")
async def revoke_token(
    token_id: TokenId,
    body: TokenRevoke,
    caller: CanRevoke,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
    dry_run: DryRun = False,
) -> RevocationView:
    """Ends all its secrets, and every token attenuated from it. After the response, no new call can use it."""
    ended = await revoke_one(
        session, caller, token_id, body, if_match, dry_run=dry_run, request_id=request.state.request_id
    )
    set_etag(response, ended.token.revision)
    return ended


async def revoke_one(
    session: AsyncSession,
    caller: Caller,
    token_id: UUID,
    body: TokenRevoke,
    if_match: Precondition,
    *,
    dry_run: bool,
    request_id: str | None,
) -> RevocationView:
    """Revoke one token and its descendants, or preview that; return the token afterwards.

    Raises ``NotFound`` and ``PreconditionFailed``.
    """
    roots = [col(Token.id) == token_id]
    if not dry_run:
        await queries.lock_live_family(session, roots)
    if_match.check((await show_token(session, token_id)).revision)
    revoked = await revoke_tokens(session, caller, roots, body.reason, dry_run=dry_run, request_id=request_id)
    return RevocationView(
        changed=bool(revoked.tokens),
        token=await show_token(session, token_id),
        revoked=RevokedTokens(tokens=revoked.tokens, in_flight=revoked.in_flight),
    )
