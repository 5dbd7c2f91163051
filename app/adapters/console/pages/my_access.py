"""My access: a person's own tokens and their agents', what they reach, and pickup links."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.forms import validate, whole_number
from app.adapters.console.menu import MY_ACCESS
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.pickups import describe_token, describe_tokens
from app.features.access.reach_routes import list_own_access
from app.features.access.reach_schemas import AccessQuery
from app.features.approvals.queries import has_requestable
from app.features.tokens import service
from app.features.tokens.pickups import list_own_pickups
from app.features.tokens.schemas import (
    PickupQuery,
    PickupView,
    TokenQuery,
    TokenRevoke,
    TokenRotate,
    TokenStatus,
    TokenView,
    connect_settings,
)
from app.http.authorization import Permission
from app.http.pagination import MAXIMUM_LIMIT
from app.lib.ids import TOKEN, TokenId, format_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_TOKEN = f"{MY_ACCESS}/tokens/{{token_id}}"
_SERVERS_A_PAGE = 10
_FEW = 5
_DONE = {"revoked": "The token was revoked. New calls with it are refused."}
Reader = Annotated[PageContext, may_open(Permission.SELF_READ)]
Writer = Annotated[Submission, may_submit(Permission.SELF_WRITE)]


@router.get(MY_ACCESS, operation_id="page_my_access")
async def show_own_tokens(context: Reader) -> Response:
    """List one's own tokens, live ones by default, and pending pickup links."""
    query = context.query(TokenQuery, limit=25)
    chosen = query.status[0].value if query.status else ""
    query.status = query.status or [TokenStatus.ACTIVE, TokenStatus.SUSPENDED]
    found = await service.list_own_tokens(context.session, context.caller, query, context.runtime)
    waiting = await _waiting(context)
    said = await describe_tokens(context, found.items)
    rows = [words | {"link": waiting.get(words["token"].id)} for words in said]
    return context.page(
        "my_access/tokens.html", tokens=rows, waiting=list(waiting.values()), few=_FEW,
        q=query.q, chosen=chosen, **context.pager(found.next_cursor),
        done=_DONE, can_ask=await has_requestable(context.session),
    )  # fmt: skip


@router.get(f"{MY_ACCESS}/reach", operation_id="page_my_reach")
async def show_reach(context: Reader) -> Response:
    """List the servers and tools that one's grants reach."""
    query = context.query(AccessQuery, limit=_SERVERS_A_PAGE)
    access = await list_own_access(query, context.caller, context.session, context.runtime, context.snapshot)
    return context.page(
        "my_access/reach.html", access=access, servers=access.items,
        can_ask=await has_requestable(context.session), **context.pager(access.next_cursor),
    )  # fmt: skip


@router.get(_TOKEN, operation_id="page_my_token")
async def show_own_token(context: Reader, token_id: TokenId) -> Response:
    """Show one of one's own tokens, and how to connect with it."""
    token = await _own(context, token_id)
    waiting = await _waiting(context)
    return context.page(
        "my_access/token.html", link=waiting.get(token_id),
        connect=connect_settings(context.runtime.public_url), done=_DONE,
        **await describe_token(context, token),
    )  # fmt: skip


@router.get(f"{_TOKEN}/rotate", operation_id="page_rotate_my_token")
async def ask_how_to_rotate(context: Reader, token_id: TokenId) -> Response:
    """Show the form that rotates a token, with the overlap of the current secret."""
    return await _show_rotate(context, token_id)


@router.post(f"{_TOKEN}/rotate", operation_id="page_rotated_my_token")
async def rotate(sent: Writer, token_id: TokenId) -> Response:
    """Rotate the token and show the new secret, which only this response contains."""
    async with sent.attempt():
        wanted = validate(TokenRotate, {"overlap_s": whole_number(sent.form.text("overlap_s"))})
        peppers = sent.runtime.peppers
        secret = await service.rotate_own_token(sent.change, token_id, wanted, sent.shown, peppers)
    if sent.problems:
        return await _show_rotate(sent, token_id)
    token = await service.show_token(sent.session, token_id)
    about, connect = await describe_token(sent, token), connect_settings(sent.runtime.public_url)
    return sent.page("pickups/taken.html", secret=secret, connect=connect, **about)


@router.get(f"{_TOKEN}/revoke", operation_id="page_revoke_my_token")
async def ask_why_to_revoke(context: Reader, token_id: TokenId) -> Response:
    """Show what the revocation ends, and the form that asks for the reason."""
    return await _show_revoke(context, token_id)


@router.post(f"{_TOKEN}/revoke", operation_id="page_revoked_my_token")
async def revoke(sent: Writer, token_id: TokenId) -> Response:
    """Revoke the token immediately."""
    async with sent.attempt():
        wanted = validate(TokenRevoke, {"reason": sent.form.text("reason")})
        await service.revoke_own_token(sent.change, token_id, wanted, sent.shown)
    if sent.problems:
        return await _show_revoke(sent, token_id)
    return redirect(f"{MY_ACCESS}/tokens/{format_id(TOKEN, token_id)}?done=revoked")


async def _show_rotate(context: PageContext, token_id: UUID) -> Response:
    overlap = context.form.text("overlap_s", "0")
    return context.page("my_access/rotate.html", token=await _own(context, token_id), overlap=overlap)


async def _show_revoke(context: PageContext, token_id: UUID) -> Response:
    token = await _own(context, token_id)
    ending = await service.preview_revocation(context.session, token_id)
    return context.page(
        "my_access/revoke.html",
        token=token,
        reason=context.form.text("reason"),
        ending=ending if ending.tokens else None,
    )


async def _own(context: PageContext, token_id: UUID) -> TokenView:
    """Read a token of the viewer's own. Raises ``NotFound``."""
    return await service.show_own_token(context.session, context.caller, token_id)


async def _waiting(context: PageContext) -> dict[UUID, PickupView]:
    """The viewer's pending pickup links by token, newest first."""
    found = await list_own_pickups(
        context.session, context.caller, PickupQuery(limit=MAXIMUM_LIMIT), context.runtime
    )
    return {link.token_id: link for link in found.items}
