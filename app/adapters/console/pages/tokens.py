"""Tokens: the list, and each with what it may reach, its secrets, its links, its children and its first use."""

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.explain import meaning_of
from app.adapters.console.forms import first_page, next_page, read_query, validated
from app.adapters.console.page import PageRoute, page
from app.adapters.console.pages.grant_words import words_of_right
from app.adapters.console.pages.principals import LONGEST
from app.adapters.console.signed_in import Viewer, signed_in
from app.domain.errors import Malformed
from app.features.audit import routes as audit
from app.features.audit.names import names_of
from app.features.audit.queries import first_use
from app.features.audit.schemas import AuditEventView, AuditQuery
from app.features.identities import routes as identities
from app.features.identities.schemas import IdentityQuery
from app.features.identities.service import find_identity
from app.features.tokens import pickup_routes
from app.features.tokens import routes as tokens
from app.features.tokens.reach import with_reach
from app.features.tokens.schemas import PickupQuery, TokenQuery
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime, Runtime
from app.http.selectors import GrantsScopeModel, ServersByIdsModel, TokenScopeModel
from app.http.transaction import Session
from app.lib.ids import TokenId

router = APIRouter(include_in_schema=False, route_class=PageRoute)

LIST = "/console/tokens"
SHOWN = 25
MOST_HOLDERS = 50
"""So many identities are meant by a name that is searched for, at most."""
_LOOKS_BACK = timedelta(days=7)
_ENDS = (1, 7, 14, 30, 90)
_END_WORDS = [(str(days), f"within {days} day{'' if days == 1 else 's'}") for days in _ENDS]
_FEW = 10
_DONE = {
    "revoked": "The token is revoked: no call with it begins any more.",
    "narrowed": "The token was changed, for the calls to come.",
    "linked": "There is a new pick-up link: send it to whom it is for.",
    "cancelled": "The pick-up link was taken back.",
}
CanRead = Annotated[Viewer, signed_in(Permission.TOKENS_READ)]


@router.get(LIST, operation_id="page_list_tokens")
async def show_tokens(
    request: Request, viewer: CanRead, session: Session, runtime: CurrentRuntime
) -> Response:
    """All tokens, with filters."""
    asked, more = request.query_params, dict[str, Any]()
    who, ends = asked.get("who", "").strip(), asked.get("expires_in", "")
    holders: list[UUID] = []
    if who:
        holders = await _called(session, runtime, who)
        more["identity_id"] = holders
    if ends:
        more |= _ending(runtime, ends) | ({} if asked.get("status") else {"status": ["active"]})
    query = read_query(TokenQuery, request, limit=SHOWN, **more)
    found = None if who and not holders else await tokens.list_tokens(query, session, runtime)
    items = found.items if found else []
    names = await names_of(session, {token.identity_id for token in items} | set(query.identity_id[:1]))
    filtered = any(value for name, value in asked.items() if name != "cursor")
    return page(
        request, "tokens/list.html", viewer=viewer, tokens=items, names=names, query=query, who=who, ends=ends,
        all_ends=_END_WORDS, filtered=filtered, many=len(holders) == MOST_HOLDERS,
        lines={token.id: short_scope(token.scope) for token in items},
        of=query.identity_id[0] if query.identity_id and not who else None,
        more=next_page(request, found.next_cursor if found else None), first=first_page(request),
    )  # fmt: skip


@router.get(LIST + "/{token_id}", operation_id="page_show_token")
async def show_token(
    request: Request, token_id: TokenId, viewer: CanRead, session: Session, runtime: CurrentRuntime
) -> Response:
    """One token."""
    token = await with_reach(session, viewer.caller, await tokens.show_token(session, token_id))
    identity = await find_identity(session, token.identity_id)
    children = await tokens.list_tokens(TokenQuery(parent_id=[token_id], limit=_FEW), session, runtime)
    pickups = await pickup_routes.list_token_pickups(token_id, PickupQuery(limit=_FEW), session, runtime)
    names = await names_of(
        session,
        {
            *servers_of(token.scope),
            *(one.recipient_id for one in pickups.items),
            *(child.identity_id for child in children.items),
            *([] if identity.owner_id is None else [identity.owner_id]),
        },
    )
    refusal = await _last_refusal(viewer, session, runtime, token_id)
    return page(
        request, "tokens/token.html", viewer=viewer, token=token, identity=identity, names=names,
        who=identity.display_name or identity.user_name, lines=say_scope(token.scope, names),
        children=children.items, more_children=children.next_cursor is not None, pickups=pickups.items,
        waiting=next((one for one in pickups.items if one.state == "pending"), None),
        use=await first_use(session, token_id), refusal=refusal,
        meaning=meaning_of(refusal.reason_code) if refusal and refusal.reason_code else None,
        done=_DONE.get(request.query_params.get("done", "")), token_id=token_id,
    )  # fmt: skip


def say_scope(scope: TokenScopeModel, names: dict[UUID, str]) -> list[str]:
    """What a token may reach, line by line, never more than the grants of its identity allow."""
    if isinstance(scope, GrantsScopeModel):
        return ["all that the grants of its identity allow, now and later"]
    return [words_of_right(entry, names) for entry in scope.entries] or ["nothing"]


def short_scope(scope: TokenScopeModel) -> str:
    """The same in a word or two, for a list."""
    if isinstance(scope, GrantsScopeModel):
        return "all grants"
    ids = servers_of(scope)
    if any(not isinstance(entry.servers, ServersByIdsModel) for entry in scope.entries):
        return "servers by rule"
    return f"{len(ids)} server{'' if len(ids) == 1 else 's'}" if ids else "nothing"


def servers_of(scope: TokenScopeModel) -> set[UUID]:
    """The servers that a scope names."""
    if isinstance(scope, GrantsScopeModel):
        return set()
    named: Iterable[list[UUID]] = (
        entry.servers.ids for entry in scope.entries if isinstance(entry.servers, ServersByIdsModel)
    )
    return {id for ids in named for id in ids}


async def _called(session: AsyncSession, runtime: Runtime, who: str) -> list[UUID]:
    query = validated(IdentityQuery, {"q": who[:LONGEST], "limit": MOST_HOLDERS})
    return [one.id for one in (await identities.list_identities(query, session, runtime)).items]


def _ending(runtime: Runtime, days: str) -> dict[str, Any]:
    """The filter for what ends within so many days. To the end of a day: pages of a list go on in one and the same."""
    if days not in {str(one) for one in _ENDS}:
        raise Malformed("The address asks for something that this page cannot read.")
    last = runtime.clock().date() + timedelta(days=int(days) + 1)
    return {"expires_before": datetime.combine(last, time(), UTC), "sort": "expires_at"}


async def _last_refusal(
    viewer: Viewer, session: AsyncSession, runtime: Runtime, token_id: UUID
) -> AuditEventView | None:
    if not viewer.may("audit.read"):
        return None
    since = runtime.clock() - _LOOKS_BACK
    query = AuditQuery(token_id=[token_id], decision=["deny"], since=since, limit=1)
    found = await audit.list_audit_events(session, runtime, query)
    return next(iter(found.items), None)
