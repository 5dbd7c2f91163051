"""The page of a pickup link: the token's recipient and scope, and the button that creates the secret once."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.forms import Problems
from app.adapters.console.page import PageRoute
from app.adapters.console.pages.grants import describe_access
from app.db.change import Change
from app.domain.errors import Conflict, PreconditionFailed
from app.features.tokens.pickups import open_pickup, take_pickup
from app.features.tokens.schemas import PAGE, TokenView, connect_settings
from app.features.tokens.service import show_token
from app.http.authorization import Permission
from app.http.selectors import GrantsScopeModel, TokenScopeModel, servers_named_by_scope
from app.lib.ids import PickupId

router = APIRouter(include_in_schema=False, route_class=PageRoute)

MAX_LINES = 12
"""The maximum number of scope entries that are described."""


@router.get(f"{PAGE}/{{pickup_id}}", operation_id="page_show_pickup")
async def show_pickup(
    context: Annotated[PageContext, may_open(Permission.SELF_READ)], pickup_id: PickupId
) -> Response:
    """Show a pickup, or why it is no longer possible. Reading the page uses nothing up."""
    return await _show(context, pickup_id)


@router.post(f"{PAGE}/{{pickup_id}}", operation_id="page_take_pickup")
async def take(
    sent: Annotated[Submission, may_submit(Permission.SELF_WRITE)], pickup_id: PickupId
) -> Response:
    """Create the secret and show it, which only this response does."""
    try:
        token_id, secret = await take_pickup(sent.change, pickup_id, sent.shown, sent.runtime.peppers)
    except (Conflict, PreconditionFailed) as refused:
        sent.problems = Problems(refused)
        return await _show(sent, pickup_id)
    token = await show_token(sent.session, token_id)
    connect, about = connect_settings(sent.runtime.public_url), await describe_token(sent, token)
    return sent.page("pickups/taken.html", secret=secret, connect=connect, **about)


async def _show(context: PageContext, pickup_id: PickupId) -> Response:
    change = Change(context.session, context.caller, context.request_id, context.now)
    own = await open_pickup(change, pickup_id, context.runtime)
    return context.page(
        "pickups/pickup.html",
        it=own.pickup,
        refused=context.problems.summary or None,
        **await describe_token(context, own.token),
    )


async def describe_token(context: PageContext, token: TokenView) -> dict[str, Any]:
    """Describe a token's owner and scope; ``agent`` is None for the viewer's own token."""
    return (await describe_tokens(context, [token]))[0]


async def describe_tokens(context: PageContext, tokens: Sequence[TokenView]) -> list[dict[str, Any]]:
    """Describe several tokens with one query for all names."""
    named = {id for token in tokens for _, id in servers_named_by_scope(token.scope, "")}
    names = await context.names(named | {token.identity_id for token in tokens})
    me = context.caller.identity_id
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
