"""My access: a person's own tokens and their agents', what they reach, and pickup links."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import CurrentSnapshot
from app.adapters.console.forms import (
    Problems,
    ShownRevision,
    attempt_change,
    first_page,
    next_page,
    read_query,
    validate,
    whole_number,
)
from app.adapters.console.menu import MY_ACCESS
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.pickups import describe_token, describe_tokens
from app.adapters.console.viewer import Submission, Viewer, require_submission, require_viewer
from app.features.access.reach_routes import list_own_access
from app.features.access.reach_schemas import AccessQuery
from app.features.approvals.ask import has_requestable
from app.features.me.routes import list_own_pickups, list_own_tokens
from app.features.tokens.own import find_own_token, lock_own_token, lock_to_renew, person_of
from app.features.tokens.routes import revoke_one, show_token
from app.features.tokens.schemas import (
    PickupQuery,
    PickupView,
    RevocationView,
    TokenQuery,
    TokenRevoke,
    TokenRotate,
    TokenStatus,
    TokenView,
    connect_settings,
)
from app.features.tokens.service import rotate_token
from app.http.authorization import Permission
from app.http.etags import Precondition
from app.http.pagination import MAXIMUM_LIMIT
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import TOKEN, TokenId, format_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_TOKEN = f"{MY_ACCESS}/tokens/{{token_id}}"
_SERVERS_A_PAGE = 10
_FEW = 5
_DONE = {"revoked": "The token was revoked. New calls with it are refused."}
Reader = Annotated[Viewer, require_viewer(Permission.SELF_READ)]
Writer = Annotated[Submission, require_submission(Permission.SELF_WRITE)]


@router.get(MY_ACCESS, operation_id="page_my_access")
async def show_own_tokens(
    request: Request, viewer: Reader, session: Session, runtime: CurrentRuntime
) -> Response:
    """List one's own tokens, live ones by default, and pending pickup links."""
    query = read_query(TokenQuery, request, limit=25)
    chosen = query.status[0].value if query.status else ""
    query.status = query.status or [TokenStatus.ACTIVE, TokenStatus.SUSPENDED]
    found = await list_own_tokens(query, viewer.caller, session, runtime)
    waiting = await _waiting(viewer, session, runtime)
    said = await describe_tokens(session, viewer, found.items)
    rows = [words | {"link": waiting.get(words["token"].id)} for words in said]
    return page(
        request, "my_access/tokens.html", viewer=viewer, tokens=rows, waiting=list(waiting.values()), few=_FEW,
        q=query.q, chosen=chosen, more=next_page(request, found.next_cursor), first=first_page(request),
        done=_DONE.get(request.query_params.get("done", "")), can_ask=await has_requestable(session),
    )  # fmt: skip


@router.get(f"{MY_ACCESS}/reach", operation_id="page_my_reach")
async def show_reach(
    request: Request, viewer: Reader, session: Session, runtime: CurrentRuntime, snapshot: CurrentSnapshot
) -> Response:
    """List the servers and tools that one's grants reach."""
    query = read_query(AccessQuery, request, limit=_SERVERS_A_PAGE)
    access = await list_own_access(query, viewer.caller, session, runtime, snapshot)
    more, first = next_page(request, access.next_cursor), first_page(request)
    return page(
        request, "my_access/reach.html", viewer=viewer, access=access, servers=access.items, more=more, first=first,
        can_ask=await has_requestable(session),
    )  # fmt: skip


@router.get(_TOKEN, operation_id="page_my_token")
async def show_own_token(
    request: Request, token_id: TokenId, viewer: Reader, session: Session, runtime: CurrentRuntime
) -> Response:
    """Show one of one's own tokens, and how to connect with it."""
    token = await _own(viewer, session, token_id)
    waiting = await _waiting(viewer, session, runtime)
    return page(
        request, "my_access/token.html", viewer=viewer, link=waiting.get(token_id),
        connect=connect_settings(runtime.public_url), done=_DONE.get(request.query_params.get("done", "")),
        **await describe_token(session, viewer, token),
    )  # fmt: skip


@router.get(f"{_TOKEN}/rotate", operation_id="page_rotate_my_token")
async def ask_how_to_rotate(
    request: Request, token_id: TokenId, viewer: Reader, session: Session
) -> Response:
    """Show the form that rotates a token, with the overlap of the current secret."""
    return await _show_rotate(request, viewer, session, token_id)


@router.post(f"{_TOKEN}/rotate", operation_id="page_rotated_my_token")
async def rotate(
    request: Request, token_id: TokenId, submission: Writer, session: Session, runtime: CurrentRuntime
) -> Response:
    """Rotate the token and show the new secret, which only this response contains."""
    viewer, form = submission.viewer, submission.form
    async with attempt_change(session) as attempt:
        wanted = validate(TokenRotate, {"overlap_s": whole_number(form.text("overlap_s"))})
        await lock_to_renew(session, person_of(viewer.caller), token_id)
        overlap, request_id = timedelta(seconds=wanted.overlap_s), request.state.request_id
        seen = ShownRevision.from_form(form)
        secret = await rotate_token(session, runtime, viewer.caller, token_id, overlap, seen, request_id)
    if attempt.problems:
        return await _show_rotate(
            request, viewer, session, token_id, attempt.problems, form.text("overlap_s")
        )
    token = await show_token(session, token_id)
    about, connect = await describe_token(session, viewer, token), connect_settings(runtime.public_url)
    return page(request, "pickups/taken.html", viewer=viewer, secret=secret, connect=connect, **about)


@router.get(f"{_TOKEN}/revoke", operation_id="page_revoke_my_token")
async def ask_why_to_revoke(
    request: Request, token_id: TokenId, viewer: Reader, session: Session
) -> Response:
    """Show what the revocation ends, and the form that asks for the reason."""
    return await _show_revoke(request, viewer, session, token_id)


@router.post(f"{_TOKEN}/revoke", operation_id="page_revoked_my_token")
async def revoke(request: Request, token_id: TokenId, submission: Writer, session: Session) -> Response:
    """Revoke the token immediately."""
    viewer, form = submission.viewer, submission.form
    seen = ShownRevision.from_form(form)
    async with attempt_change(session) as attempt:
        wanted = validate(TokenRevoke, {"reason": form.text("reason")})
        await lock_own_token(session, person_of(viewer.caller), token_id)
        await _revoke(request, viewer, session, token_id, wanted, seen, dry_run=False)
    if attempt.problems:
        return await _show_revoke(request, viewer, session, token_id, attempt.problems, form.text("reason"))
    return redirect(f"{MY_ACCESS}/tokens/{format_id(TOKEN, token_id)}?done=revoked")


async def _show_rotate(
    request: Request,
    viewer: Viewer,
    session: AsyncSession,
    token_id: UUID,
    problems: Problems | None = None,
    overlap: str = "0",
) -> Response:
    token, found = await _own(viewer, session, token_id), problems or Problems()
    return page(
        request, "my_access/rotate.html", viewer=viewer, status=found.status, problems=found, token=token,
        overlap=overlap,
    )  # fmt: skip


async def _show_revoke(
    request: Request,
    viewer: Viewer,
    session: AsyncSession,
    token_id: UUID,
    problems: Problems | None = None,
    reason: str = "",
) -> Response:
    token, found = await _own(viewer, session, token_id), problems or Problems()
    any_reason, any_revision = TokenRevoke(reason="?"), Precondition(None)
    ends = await _revoke(request, viewer, session, token_id, any_reason, any_revision, dry_run=True)
    return page(
        request, "my_access/revoke.html", viewer=viewer, status=found.status, problems=found, token=token,
        reason=reason, ending=ends.revoked if ends.changed else None,
    )  # fmt: skip


async def _revoke(
    request: Request,
    viewer: Viewer,
    session: AsyncSession,
    token_id: UUID,
    wanted: TokenRevoke,
    seen: Precondition,
    *,
    dry_run: bool,
) -> RevocationView:
    request_id = request.state.request_id
    return await revoke_one(
        session, viewer.caller, token_id, wanted, seen, dry_run=dry_run, request_id=request_id
    )


async def _own(viewer: Viewer, session: AsyncSession, token_id: UUID) -> TokenView:
    """Read a token of the viewer's own. Raises ``NotFound``."""
    return TokenView.from_reading(await find_own_token(session, person_of(viewer.caller), token_id))


async def _waiting(viewer: Viewer, session: AsyncSession, runtime: Runtime) -> dict[UUID, PickupView]:
    """The viewer's pending pickup links by token, newest first."""
    found = await list_own_pickups(PickupQuery(limit=MAXIMUM_LIMIT), viewer.caller, session, runtime)
    return {link.token_id: link for link in found.items}
