"""The page behind a pick-up link: who the secret is for, what it opens, and the button that makes it, once."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import AsShown
from app.adapters.console.page import PageRoute, page
from app.adapters.console.pages.grants import words_of_right
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.domain.errors import Conflict, PreconditionFailed
from app.features.audit.names import names_of
from app.features.tokens.pickups import open_pickup, take_pickup
from app.features.tokens.routes import show_token
from app.features.tokens.schemas import PAGE, PickupView, TokenView, connect_settings
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime, Runtime
from app.http.selectors import GrantsScopeModel, TokenScopeModel, servers_named_by_scope
from app.http.transaction import Session
from app.lib.ids import PickupId

router = APIRouter(include_in_schema=False, route_class=PageRoute)

MOST_LINES = 12
"""How many parts of a scope are said one by one."""


@router.get(f"{PAGE}/{{pickup_id}}", operation_id="page_show_pickup")
async def show_pickup(
    request: Request,
    pickup_id: PickupId,
    viewer: Annotated[Viewer, signed_in(Permission.SELF_READ)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """What waits for the person, or why it does not any more. Nothing is taken by looking."""
    return await _show(request, viewer, session, runtime, pickup_id)


@router.post(f"{PAGE}/{{pickup_id}}", operation_id="page_take_pickup")
async def take(
    request: Request,
    pickup_id: PickupId,
    submission: Annotated[Submission, submitted(Permission.SELF_WRITE)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """Make the secret and show it, in this answer alone: its address shows no secret to whoever opens it again."""
    viewer, seen = submission.viewer, AsShown.by(submission.form)
    request_id = request.state.request_id
    try:
        token_id, secret = await take_pickup(
            session, runtime.peppers, viewer.caller, pickup_id, seen, request_id
        )
    except (Conflict, PreconditionFailed) as refused:
        return await _show(request, viewer, session, runtime, pickup_id, refused)
    token = await show_token(session, token_id)
    connect, about = connect_settings(runtime.public_url), await words_about(session, viewer, token)
    return page(request, "pickups/taken.html", viewer=viewer, secret=secret, connect=connect, **about)


async def _show(
    request: Request,
    viewer: Viewer,
    session: AsyncSession,
    runtime: Runtime,
    pickup_id: PickupId,
    refused: Conflict | PreconditionFailed | None = None,
) -> Response:
    found = await open_pickup(session, viewer.caller, pickup_id, request.state.request_id)
    token = TokenView.from_reading(found.token)
    status = {type(None): 200, Conflict: 409}.get(type(refused), 412)
    return page(
        request, "pickups/pickup.html", viewer=viewer, status=status,
        it=PickupView.from_reading(found.pickup, runtime.public_url),
        refused=None if refused is None else refused.detail, **await words_about(session, viewer, token),
    )  # fmt: skip


async def words_about(session: AsyncSession, viewer: Viewer, token: TokenView) -> dict[str, Any]:
    """Whose token it is and what it may do, in words: ``agent`` is None for the viewer's own."""
    return (await words_about_each(session, viewer, [token]))[0]


async def words_about_each(
    session: AsyncSession, viewer: Viewer, tokens: Sequence[TokenView]
) -> list[dict[str, Any]]:
    """The same of many, with one look for all names."""
    named = {id for token in tokens for _, id in servers_named_by_scope(token.scope, "")}
    names = await names_of(session, named | {token.identity_id for token in tokens})
    me = viewer.caller.identity_id
    agents = [None if one.identity_id == me else names.get(one.identity_id, "an agent") for one in tokens]
    return [
        {"token": token, "agent": agent, "scope": _lines(token.scope, agent is None, names)}
        for token, agent in zip(tokens, agents, strict=True)
    ]


def _lines(scope: TokenScopeModel, own: bool, names: Mapping[UUID, str]) -> list[str]:
    """What a token may do, line by line, as its person reads it."""
    if isinstance(scope, GrantsScopeModel):
        return [f"all that {'your' if own else 'its'} grants allow, now and later"]
    lines = [words_of_right(entry, names) for entry in scope.entries[:MOST_LINES]]
    if len(scope.entries) > MOST_LINES:
        lines.append(f"and {len(scope.entries) - MOST_LINES} more like these")
    return lines or ["nothing"]
