"""The page of a pickup link: the token's recipient and scope, and the button that creates the secret once."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import ShownRevision
from app.adapters.console.page import PageRoute, page
from app.adapters.console.pages.grants import describe_access
from app.adapters.console.viewer import Submission, Viewer, require_submission, require_viewer
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

MAX_LINES = 12
"""The maximum number of scope entries that are described."""


@router.get(f"{PAGE}/{{pickup_id}}", operation_id="page_show_pickup")
async def show_pickup(
    request: Request,
    pickup_id: PickupId,
    viewer: Annotated[Viewer, require_viewer(Permission.SELF_READ)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """Show a pickup, or why it is no longer possible. Reading the page uses nothing up."""
    return await _show(request, viewer, session, runtime, pickup_id)


@router.post(f"{PAGE}/{{pickup_id}}", operation_id="page_take_pickup")
async def take(
    request: Request,
    pickup_id: PickupId,
    submission: Annotated[Submission, require_submission(Permission.SELF_WRITE)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """Create the secret and show it, which only this response does."""
    viewer, seen = submission.viewer, ShownRevision.from_form(submission.form)
    request_id = request.state.request_id
    try:
        token_id, secret = await take_pickup(
            session, runtime.peppers, viewer.caller, pickup_id, seen, request_id
        )
    except (Conflict, PreconditionFailed) as refused:
        return await _show(request, viewer, session, runtime, pickup_id, refused)
    token = await show_token(session, token_id)
    connect, about = connect_settings(runtime.public_url), await describe_token(session, viewer, token)
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
        refused=None if refused is None else refused.detail, **await describe_token(session, viewer, token),
    )  # fmt: skip


async def describe_token(session: AsyncSession, viewer: Viewer, token: TokenView) -> dict[str, Any]:
    """Describe a token's owner and scope; ``agent`` is None for the viewer's own token."""
    return (await describe_tokens(session, viewer, [token]))[0]


async def describe_tokens(
    session: AsyncSession, viewer: Viewer, tokens: Sequence[TokenView]
) -> list[dict[str, Any]]:
    """Describe several tokens with one query for all names."""
    named = {id for token in tokens for _, id in servers_named_by_scope(token.scope, "")}
    names = await names_of(session, named | {token.identity_id for token in tokens})
    me = viewer.caller.identity_id
    agents = [None if one.identity_id == me else names.get(one.identity_id, "an agent") for one in tokens]
    return [
        {"token": token, "agent": agent, "scope": _lines(token.scope, agent is None, names)}
        for token, agent in zip(tokens, agents, strict=True)
    ]


def _lines(scope: TokenScopeModel, own: bool, names: Mapping[UUID, str]) -> list[str]:
    """Describe a scope, one line for each entry, addressed to the token's holder."""
    if isinstance(scope, GrantsScopeModel):
        return [f"all that {'your' if own else 'its'} grants allow, now and later"]
    lines = [describe_access(entry, names) for entry in scope.entries[:MAX_LINES]]
    if len(scope.entries) > MAX_LINES:
        lines.append(f"and {len(scope.entries) - MAX_LINES} more entries")
    return lines or ["nothing"]
