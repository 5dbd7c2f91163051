"""Tokens: the list, the page of each, and rotating, narrowing, revoking and pickup links."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.access.explain import meaning_of
from app.adapters.console.context import PageContext, Submission, may_open, may_submit, on_refusal
from app.adapters.console.display import describe_access, describe_scope, link
from app.adapters.console.forms import Form, end_of_day, validate
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.issue_token import Chosen, Issuer, describe_holder
from app.adapters.console.pages.principals import MAX_SEARCH_LENGTH
from app.domain.errors import Malformed
from app.features.audit import reading
from app.features.audit.queries import first_use
from app.features.audit.schemas import AuditQuery
from app.features.identities import service as identities
from app.features.identities.schemas import IdentityQuery
from app.features.identities.service import find_identity
from app.features.tokens import queries, schemas
from app.features.tokens import service as tokens
from app.features.tokens.pickups import cancel_pickup, create_pickup, list_pickups
from app.http import selectors
from app.http.authorization import Permission
from app.http.pagination import Page
from app.lib.ids import PickupId, TokenId

router = APIRouter(include_in_schema=False, route_class=PageRoute)
LIST = "/console/tokens"
SHOWN = 25
MAX_HOLDERS = 50
"""The maximum number of identities that a name filter selects."""
_REFUSAL_PERIOD = timedelta(days=7)
_ENDS = (1, 7, 14, 30, 90)
_END_WORDS = [(str(days), f"within {days} day{'' if days == 1 else 's'}") for days in _ENDS]
_FEW = 10
_DONE = {
    "revoked": "The token was revoked. New calls with it are refused.",
    "narrowed": "The token was changed. New calls follow the change.",
    "linked": "The pickup link was created. Send it to the recipient.",
    "cancelled": "The pickup link was cancelled.",
}
CanRead = Annotated[PageContext, may_open(Permission.TOKENS_READ)]
_ALL_GRANTS = "everything that its identity's grants allow, now and later"
OVERLAPS = ((0, "Immediately"), (3600, "After an hour"), (86_400, "After a day"))
_MAX_NAMED = 10
CanRevoke = Annotated[PageContext, may_open(Permission.TOKENS_REVOKE)]
Revocation = Annotated[Submission, may_submit(Permission.TOKENS_REVOKE)]


@router.get(LIST, operation_id="page_list_tokens")
async def show_tokens(context: CanRead) -> Response:
    """List all tokens, with filters."""
    asked, more = context.request.query_params, dict[str, Any]()
    who, ends = context.param("who"), context.param("expires_in")
    holders: list[UUID] = []
    if who:
        named = validate(IdentityQuery, {"q": who[:MAX_SEARCH_LENGTH], "limit": MAX_HOLDERS})
        people = await identities.list_identities(context.session, named, context.runtime)
        more["identity_id"] = holders = [one.id for one in people.items]
    if ends:
        if ends not in {str(days) for days in _ENDS}:
            raise Malformed("The address has an invalid filter. Open the page again.")
        more |= {"expires_before": context.day_end(int(ends)), "sort": "expires_at"}
        more |= {} if asked.get("status") else {"status": ["active"]}
    query = context.query(schemas.TokenQuery, limit=SHOWN, **more)
    found = Page[schemas.TokenView](items=[], next_cursor=None)
    if holders or not who:
        found = await tokens.list_tokens(context.session, query, context.runtime)
    names = await context.names(*(token.identity_id for token in found.items), *query.identity_id[:1])
    return await context.page(
        "tokens/list.html", found, names=names, query=query, who=who, ends=ends, all_ends=_END_WORDS,
        many=len(holders) == MAX_HOLDERS, summarize=summarize_scope,
        of=query.identity_id[0] if query.identity_id and not who else None,
    )  # fmt: skip


@router.get(LIST + "/{token_id}", operation_id="page_show_token")
async def show_token_page(context: CanRead, token_id: TokenId) -> Response:
    """Show a token."""
    token = await tokens.show_token(context.session, token_id)
    token = await tokens.with_reach(context.session, context.caller, token)
    identity = await find_identity(context.session, token.identity_id)
    below = schemas.TokenQuery(parent_id=[token_id], limit=_FEW)
    children = await tokens.list_tokens(context.session, below, context.runtime)
    pickups = await list_pickups(context.session, token_id, schemas.PickupQuery(limit=_FEW), context.runtime)
    shown_ids = [
        *(one.recipient_id for one in pickups.items),
        *(child.identity_id for child in children.items),
    ]
    names = await context.names(token.scope, identity.owner_id, *shown_ids, first=None)
    refusal = None
    if context.may("audit.read"):
        since = context.now - _REFUSAL_PERIOD
        denied = AuditQuery(token_id=[token_id], decision=["deny"], since=since, limit=1)
        events = await reading.list_events(context.session, context.runtime, denied)
        refusal = next(iter(events.items), None)
    return await context.page(
        "tokens/token.html", token=token, identity=identity, names=names,
        who=identity.display_name or identity.user_name, lines=describe_scope(token.scope, names, _ALL_GRANTS),
        children=children.items, more_children=children.next_cursor is not None, pickups=pickups.items,
        waiting=next((one for one in pickups.items if one.state == "pending"), None),
        use=await first_use(context.session, token_id), refusal=refusal,
        meaning=meaning_of(refusal.reason_code) if refusal and refusal.reason_code else None,
        done=_DONE, token_id=token_id,
    )  # fmt: skip


def summarize_scope(scope: selectors.TokenScopeModel) -> str:
    """Describe a scope in a word or two, for the list."""
    if isinstance(scope, selectors.GrantsScopeModel):
        return "all grants"
    ids = {id for _, id in selectors.servers_named_by_scope(scope, "")}
    if any(not isinstance(entry.servers, selectors.ServersByIdsModel) for entry in scope.entries):
        return "servers by rule"
    return f"{len(ids)} server{'' if len(ids) == 1 else 's'}" if ids else "nothing"


@router.get(LIST + "/{token_id}/rotate", operation_id="page_ask_rotate")
async def ask_rotate(context: Issuer, token_id: TokenId) -> Response:
    """Show the form that rotates a token."""
    return await _ask_overlap(context, token_id, "tokens/rotate.html")


@router.post(LIST + "/{token_id}/rotate", operation_id="page_rotate_token")
@on_refusal(ask_rotate)
async def rotate(sent: Chosen, token_id: TokenId) -> Response:
    """Rotate a token; only this response contains the new secret."""
    body, peppers = validate(schemas.TokenRotate, {"overlap_s": _seconds(sent)}), sent.runtime.peppers
    secret = await tokens.rotate_token(sent.change, token_id, body, sent.shown, peppers)
    return await sent.page(
        "tokens/secret.html", token=await tokens.show_token(sent.session, token_id), secret=secret,
        pickup=None, connect=schemas.connect_settings(sent.runtime.public_url), rotated=True, use=None,
    )  # fmt: skip


@router.get(LIST + "/{token_id}/narrow", operation_id="page_ask_narrow")
async def ask_narrow(context: Issuer, token_id: TokenId) -> Response:
    """Show the form that renames a token, narrows it or shortens its lifetime."""
    token, form = await tokens.show_token(context.session, token_id), context.form
    names, scope = await context.names(token.scope, first=None), token.scope
    entries = [] if isinstance(scope, selectors.GrantsScopeModel) else scope.entries
    # Entries are identified by position, which another revision can change.
    kept = form if form.text("revision") == str(token.revision) else None
    return await _ask(
        context, token_id, "tokens/narrow.html",
        entries=[_line(place, entry, names, kept) for place, entry in enumerate(entries)],
        whole=kept.text("entry-0") if kept else "",
    )  # fmt: skip


@router.post(LIST + "/{token_id}/narrow", operation_id="page_narrow_token")
@on_refusal(ask_narrow)
async def narrow(sent: Chosen, token_id: TokenId) -> Response:
    """Narrow a token for new calls."""
    token = await tokens.show_token(sent.session, token_id)
    body = validate(schemas.TokenUpdate, _changes(sent, token))
    await tokens.narrow_token(sent.change, token_id, body, sent.shown)
    return redirect(f"{link('token', token_id)}?done=narrowed")


@router.get(LIST + "/{token_id}/revoke", operation_id="page_ask_revoke")
async def ask_revoke(context: CanRevoke, token_id: TokenId) -> Response:
    """Show what the revocation ends."""
    preview = await tokens.preview_revocation(context.session, token_id)
    below = [id for id in preview.tokens if id != token_id]
    named = await queries.find_readings(context.session, below[:_MAX_NAMED])
    return await _ask(
        context, token_id, "tokens/revoke.html", below=below,
        named=[one.row for one in named.values()], in_flight=preview.in_flight,
    )  # fmt: skip


@router.post(LIST + "/{token_id}/revoke", operation_id="page_revoke_token")
@on_refusal(ask_revoke)
async def revoke(sent: Revocation, token_id: TokenId) -> Response:
    """Revoke a token and the tokens attenuated from it."""
    body = validate(schemas.TokenRevoke, {"reason": sent.form.text("reason")})
    await tokens.revoke_token(sent.change, token_id, body, sent.shown)
    return redirect(f"{link('token', token_id)}?done=revoked")


@router.get(LIST + "/{token_id}/pickup", operation_id="page_ask_pickup")
async def ask_pickup(context: Issuer, token_id: TokenId) -> Response:
    """Show the form that creates a pickup link."""
    return await _ask_overlap(context, token_id, "tokens/pickup.html")


@router.post(LIST + "/{token_id}/pickup", operation_id="page_make_pickup")
@on_refusal(ask_pickup)
async def make_pickup(sent: Chosen, token_id: TokenId) -> Response:
    """Create a pickup link; it cancels a pending one."""
    body = validate(schemas.PickupCreate, {"overlap_s": _seconds(sent)})
    await create_pickup(sent.change, token_id, body, sent.runtime)
    return redirect(f"{link('token', token_id)}?done=linked")


@router.post(LIST + "/{token_id}/pickups/{pickup_id}/cancel", operation_id="page_cancel_pickup")
async def cancel(sent: Chosen, token_id: TokenId, pickup_id: PickupId) -> Response:
    """Cancel a pending pickup link."""
    await cancel_pickup(sent.change, token_id, pickup_id, sent.shown)
    return redirect(f"{link('token', token_id)}?done=cancelled")


async def _ask(context: PageContext, token_id: UUID, name: str, **values: Any) -> Response:
    token = await tokens.show_token(context.session, token_id)
    return await context.page(
        name, token=token, **await describe_holder(context, token.identity_id), **values
    )


async def _ask_overlap(context: PageContext, token_id: UUID, name: str) -> Response:
    """Show a form with the overlap, which keeps its choice, since another one could end secrets immediately."""
    chosen = context.form.text("overlap_s")
    return await _ask(context, token_id, name, overlaps=OVERLAPS, chosen=chosen)


def _line(
    place: int, entry: selectors.ScopeEntryModel, names: dict[UUID, str], form: Form | None
) -> dict[str, Any]:
    """An entry of a scope, with the possible actions and the chosen one."""
    tools = entry.tools.names if isinstance(entry.tools, selectors.ToolsByNamesModel) else []
    return {
        "words": describe_access(entry, names),
        "names": tools,
        "can_read_only": can_read_only(entry),
        "asked": form.text(f"entry-{place}") if form else "",
        "ticked": set(form.texts(f"tool-{place}")) if form else set(tools),
    }


def _changes(sent: Submission, token: schemas.TokenView) -> dict[str, Any]:
    """The changes that the form asks for. Raises ``Invalid``."""
    form, changes = sent.form, dict[str, Any]()
    if form.text("name") != token.name:
        changes["name"] = form.text("name")
    if form.text("date"):
        end = end_of_day(form.text("date"), "/expires_at")
        # The form offers the current expiry's day, which keeps its time.
        if end.date() != token.expires_at.date():
            changes["expires_at"] = end
    if isinstance(token.scope, selectors.GrantsScopeModel):
        if form.text("entry-0") == "read":
            everywhere = {"servers": {"kind": "all"}, "tools": {"kind": "risk", "risk": ["read"]}}
            changes["scope"] = {"kind": "listed", "entries": [everywhere]}
        return changes
    entries = [_narrow_entry(sent, place, entry) for place, entry in enumerate(token.scope.entries)]
    kept = [entry for entry in entries if entry is not None]
    if kept != token.scope.entries:
        changes["scope"] = {"kind": "listed", "entries": [entry.model_dump(mode="json") for entry in kept]}
    return changes


def _narrow_entry(
    sent: Submission, place: int, entry: selectors.ScopeEntryModel
) -> selectors.ScopeEntryModel | None:
    """A scope entry after the form's action; ``None`` if it is removed."""
    asked = sent.form.text(f"entry-{place}", "keep")
    if asked == "drop":
        return None
    if isinstance(entry.tools, selectors.ToolsByNamesModel):
        ticked = set(sent.form.texts(f"tool-{place}"))
        names = [name for name in entry.tools.names if name in ticked]
        if not names:
            return None
        return entry.model_copy(update={"tools": selectors.ToolsByNamesModel(kind="names", names=names)})
    if asked == "read" and can_read_only(entry):
        reading = selectors.ToolsByRiskModel.model_validate({"kind": "risk", "risk": ["read"]})
        return entry.model_copy(update={"tools": reading, "resources": False, "prompts": False})
    return entry


def can_read_only(entry: selectors.ScopeEntryModel) -> bool:
    """Whether an entry can be narrowed to read-only tools."""
    if isinstance(entry.tools, selectors.AllToolsModel):
        return True
    return (
        isinstance(entry.tools, selectors.ToolsByRiskModel)
        and "read" in entry.tools.risk
        and len(entry.tools.risk) > 1
    )


def _seconds(sent: Submission) -> int:
    text = sent.form.text("overlap_s")
    if text not in {str(seconds) for seconds, _ in OVERLAPS}:
        raise Malformed("The form cannot be read: choose how long the current secrets keep working.")
    return int(text)
