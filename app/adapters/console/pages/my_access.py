"""A person's own access: their tokens, what they reach, access requests, pickup links, and connection tests."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from markupsafe import Markup

from app.adapters.console.context import PageContext, Submission, may_open, may_submit, on_refusal
from app.adapters.console.display import describe_scope, format_name, link, visible
from app.adapters.console.forms import Form, Problems, end_of_day, validate, whole_number
from app.adapters.console.menu import MY_ACCESS
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.approvals import gravest
from app.db.change import Change
from app.domain.errors import Conflict, Invalid, PreconditionFailed
from app.features.access.reach import AccessQuery, list_identity_access
from app.features.approvals.queries import has_requestable, require_requestable
from app.features.approvals.schemas import (
    AccessRequest,
    ApprovalQuery,
    ApprovalView,
    RequestableQuery,
    RequestableServer,
)
from app.features.approvals.service import MAX_DURATION, ask_for_access, list_approvals, list_requestable
from app.features.identities.schemas import IdentityView, OwnAgentQuery
from app.features.identities.service import list_own_agents
from app.features.tokens import schemas, service
from app.features.tokens.connection_check import CurrentChecks
from app.features.tokens.pickups import list_own_pickups, open_pickup, take_pickup
from app.features.tokens.service import show_own_token, show_token
from app.http.authorization import Permission
from app.http.pagination import MAXIMUM_LIMIT
from app.lib.ids import IDENTITY, SERVER, TOKEN, PickupId, ServerId, TokenId, format_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_TOKEN = f"{MY_ACCESS}/tokens/{{token_id}}"
_SERVERS_A_PAGE = 10
_FEW = 5
_DONE = {"revoked": "The token was revoked. New calls with it are refused."}
Reader = Annotated[PageContext, may_open(Permission.SELF_READ)]
Writer = Annotated[Submission, may_submit(Permission.SELF_WRITE)]
_REQUESTS = f"{MY_ACCESS}/request"
_REQUEST = f"{_REQUESTS}/{{server_id}}"
_REQUESTABLE = 10
_EARLIER = 10
_LIFETIMES = (7, 30, 90)
# The form names each selected tool, of which there can be some hundred.
_MAX_FORM_BYTES = 256 * 1024
MAX_LINES = 12
"""The maximum number of scope entries that are described."""
_OWN_TEST = MY_ACCESS + "/tokens/{token_id}/check"
_ANY_TEST = "/console/tokens/{token_id}/check"
_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d) UTC")
_TIME_TAG = r'<time datetime="\1T\2Z" title="\1 \2 UTC">\1 \2 UTC</time>'
Tester = Annotated[PageContext, may_open(Permission.SELF_WRITE)]
TokenReader = Annotated[PageContext, may_open(Permission.TOKENS_READ)]
TokenTest = Annotated[Submission, may_submit(Permission.TOKENS_READ)]


@router.get(MY_ACCESS, operation_id="page_my_access")
async def show_own_tokens(context: Reader) -> Response:
    """List one's own tokens, live ones by default, and pending pickup links."""
    query = context.query(schemas.TokenQuery, limit=25)
    chosen = query.status[0].value if query.status else ""
    query.status = query.status or [schemas.TokenStatus.ACTIVE, schemas.TokenStatus.SUSPENDED]
    found = await service.list_own_tokens(context.session, context.caller, query, context.runtime)
    waiting = await _waiting(context)
    said = await describe_tokens(context, found.items)
    rows = [words | {"link": waiting.get(words["token"].id)} for words in said]
    return await context.page(
        "my_access/tokens.html", names={}, tokens=rows, waiting=list(waiting.values()), few=_FEW,
        q=query.q, chosen=chosen, **context.pager(found.next_cursor),
        done=_DONE, can_ask=await has_requestable(context.session),
    )  # fmt: skip


@router.get(f"{MY_ACCESS}/reach", operation_id="page_my_reach")
async def show_reach(context: Reader) -> Response:
    """List the servers and tools that one's grants reach."""
    query = context.query(AccessQuery, limit=_SERVERS_A_PAGE)
    own = service.person_of(context.caller)
    access = await list_identity_access(context.session, context.snapshot, own, query, context.runtime)
    return await context.page(
        "my_access/reach.html", names={}, access=access, servers=access.items,
        can_ask=await has_requestable(context.session), **context.pager(access.next_cursor),
    )  # fmt: skip


@router.get(_TOKEN, operation_id="page_my_token")
async def show_my_token(context: Reader, token_id: TokenId) -> Response:
    """Show one of one's own tokens, and how to connect with it."""
    about = await describe_token(context, await _own(context, token_id))
    pending = (await _waiting(context)).get(token_id)
    connect = schemas.connect_settings(context.runtime.public_url)
    return await context.page("my_access/token.html", pending=pending, connect=connect, done=_DONE, **about)


@router.get(f"{_TOKEN}/rotate", operation_id="page_rotate_my_token")
async def ask_how_to_rotate(context: Reader, token_id: TokenId) -> Response:
    """Show the form that rotates a token, with the overlap of the current secret."""
    return await context.page("my_access/rotate.html", token=await _own(context, token_id))


@router.post(f"{_TOKEN}/rotate", operation_id="page_rotated_my_token")
@on_refusal(ask_how_to_rotate)
async def rotate(sent: Writer, token_id: TokenId) -> Response:
    """Rotate the token and show the new secret, which only this response contains."""
    wanted = validate(schemas.TokenRotate, {"overlap_s": whole_number(sent.form.text("overlap_s"))})
    peppers = sent.runtime.peppers
    secret = await service.rotate_own_token(sent.change, token_id, wanted, sent.shown, peppers)
    return await _show_secret(sent, token_id, secret)


@router.get(f"{_TOKEN}/revoke", operation_id="page_revoke_my_token")
async def ask_why_to_revoke(context: Reader, token_id: TokenId) -> Response:
    """Show what the revocation ends, and the form that asks for the reason."""
    token = await _own(context, token_id)
    ending = await service.preview_revocation(context.session, token_id)
    return await context.page("my_access/revoke.html", token=token, ending=ending)


@router.post(f"{_TOKEN}/revoke", operation_id="page_revoked_my_token")
@on_refusal(ask_why_to_revoke)
async def revoke(sent: Writer, token_id: TokenId) -> Response:
    """Revoke the token immediately."""
    wanted = validate(schemas.TokenRevoke, {"reason": sent.form.text("reason")})
    await service.revoke_own_token(sent.change, token_id, wanted, sent.shown)
    return redirect(f"{MY_ACCESS}/tokens/{format_id(TOKEN, token_id)}?done=revoked")


async def _own(context: PageContext, token_id: UUID) -> schemas.TokenView:
    """Read a token of the viewer's own. Raises ``NotFound``."""
    return await service.show_own_token(context.session, context.caller, token_id)


async def _waiting(context: PageContext) -> dict[UUID, schemas.PickupView]:
    """The viewer's pending pickup links by token, newest first."""
    query = schemas.PickupQuery(limit=MAXIMUM_LIMIT)
    found = await list_own_pickups(context.session, context.caller, query, context.runtime)
    return {link.token_id: link for link in found.items}


@router.get(_REQUESTS, operation_id="page_request_access")
async def show_requestable(context: Reader) -> Response:
    """List the servers that can be requested, and earlier requests."""
    query = context.query(RequestableQuery, limit=_REQUESTABLE)
    found = await list_requestable(context.session, query, context.runtime)
    servers = [(one, gravest([tool.risk for tool in one.tools])) for one in found.items]
    asked, pager = await _asked_before(context), context.pager(found.next_cursor)
    return await context.page(
        "my_access/request.html", names={}, servers=servers, q=query.q, asked=asked, **pager
    )


@router.get(_REQUEST, operation_id="page_request_server")
async def show_request(context: Reader, server_id: ServerId) -> Response:
    """Show the form that requests access to a server."""
    server, now = await require_requestable(context.session, server_id), context.now
    agents = await _agents(context, OwnAgentQuery(limit=MAXIMUM_LIMIT, status=["active"]))
    return await context.page(
        "my_access/request_form.html",
        server=server,
        agents=[(format_id(IDENTITY, one.id), format_name(one)) for one in agents],
        presets=[(days, now + timedelta(days=days)) for days in _LIFETIMES],
        soonest=f"{now:%Y-%m-%d}",
        latest=f"{now + MAX_DURATION:%Y-%m-%d}",
    )


@router.post(_REQUEST, operation_id="page_send_request")
async def send_request(
    sent: Annotated[Submission, may_submit(Permission.SELF_WRITE, max_bytes=_MAX_FORM_BYTES)],
    server_id: ServerId,
) -> Response:
    """Create the request, which then appears in the approvers' list."""
    server = await require_requestable(sent.session, server_id)
    async with sent.attempt():
        body = validate(AccessRequest, _requested(sent.form, server, sent.change.now))
        row = await ask_for_access(sent.change, body)
    if sent.problems:
        return await show_request(sent, server_id)
    return redirect(link("approval", row.id))


def _requested(form: Form, server: RequestableServer, now: datetime) -> dict[str, Any]:
    """The form's fields by the API's names. Raises ``Invalid`` if no day was chosen."""
    tools: dict[str, Any] = {"kind": "names", "names": form.texts("tool")}
    if form.text("which") == "all":
        tools = {"kind": "all"}
    elif form.text("which") == "read":
        tools = {"kind": "risk", "risk": ["read"]}
    return {
        "kind": "access",
        "server": format_id(SERVER, server.id),
        "tools": tools,
        "expires_at": _requested_end(form, now),
        "reason": form.text("reason"),
        "identity_id": form.text("identity_id") or None,
    }


def _requested_end(form: Form, now: datetime) -> datetime:
    lasts = form.text("lasts")
    if lasts in {str(days) for days in _LIFETIMES}:
        return now + timedelta(days=int(lasts))
    end = end_of_day(form.text("date"), "/expires_at")
    latest = now + MAX_DURATION
    # On the last possible day, access ends at the maximum lifetime.
    return min(end, latest) if end.date() == latest.date() else end


async def _asked_before(context: PageContext) -> list[ApprovalView]:
    """The latest requests of the viewer and their agents."""
    me = context.caller.identity_id
    if me is None:
        return []
    agents = await _agents(context, OwnAgentQuery(limit=MAXIMUM_LIMIT))
    query = ApprovalQuery(kind=["access"], identity_id=[me, *(one.id for one in agents)], limit=_EARLIER)
    return (await list_approvals(context.session, context.caller, query, context.runtime)).items


async def _agents(context: PageContext, query: OwnAgentQuery) -> list[IdentityView]:
    return (await list_own_agents(context.session, context.caller, query, context.runtime)).items


@router.get(f"{schemas.PAGE}/{{pickup_id}}", operation_id="page_show_pickup")
async def show_pickup(context: Reader, pickup_id: PickupId) -> Response:
    """Show a pickup, or why it is no longer possible. Reading the page uses nothing up."""
    change = Change(context.session, context.caller, context.request_id, context.now)
    own = await open_pickup(change, pickup_id, context.runtime)
    about = await describe_token(context, own.token)
    return await context.page("pickups/pickup.html", it=own.pickup, **about)


@router.post(f"{schemas.PAGE}/{{pickup_id}}", operation_id="page_take_pickup")
async def take(sent: Writer, pickup_id: PickupId) -> Response:
    """Create the secret and show it, which only this response does."""
    try:
        token_id, secret = await take_pickup(sent.change, pickup_id, sent.shown, sent.runtime.peppers)
    except (Conflict, PreconditionFailed) as refused:
        sent.problems = Problems(refused)
        return await show_pickup(sent, pickup_id)
    return await _show_secret(sent, token_id, secret)


async def _show_secret(sent: Submission, token_id: UUID, secret: str) -> Response:
    about = await describe_token(sent, await show_token(sent.session, token_id))
    connect = schemas.connect_settings(sent.runtime.public_url)
    return await sent.page("pickups/taken.html", secret=secret, connect=connect, **about)


async def describe_token(context: PageContext, token: schemas.TokenView) -> dict[str, Any]:
    """Describe a token's owner and scope; ``agent`` is None for the viewer's own token."""
    return (await describe_tokens(context, [token]))[0]


async def describe_tokens(context: PageContext, tokens: Sequence[schemas.TokenView]) -> list[dict[str, Any]]:
    """Describe several tokens with one query for all names."""
    named = [one for token in tokens for one in (token.scope, token.identity_id)]
    names = await context.names(*named, first=None)
    described: list[dict[str, Any]] = []
    for token in tokens:
        own = token.identity_id == context.caller.identity_id
        everything = f"all that {'your' if own else 'its'} grants allow, now and later"
        agent = None if own else names.get(token.identity_id, "an agent")
        scope = describe_scope(token.scope, names, everything, MAX_LINES)
        described.append({"token": token, "agent": agent, "scope": scope})
    return described


@router.get(_OWN_TEST, operation_id="page_test_own_token")
async def show_own(context: Tester, token_id: TokenId) -> Response:
    """Show the form that tests a token of one's own."""
    return await _show_test(
        context, await show_own_token(context.session, context.caller, token_id), own=True
    )


@router.post(_OWN_TEST, operation_id="page_check_own_token")
async def check_own(sent: Writer, token_id: TokenId, checks: CurrentChecks) -> Response:
    """Show the test's result. A POST, since the test sends requests to servers."""
    return await _test(sent, await show_own_token(sent.session, sent.caller, token_id), checks, own=True)


@router.get(_ANY_TEST, operation_id="page_test_token")
async def show_any(context: TokenReader, token_id: TokenId) -> Response:
    """Show the form that tests any token."""
    return await _show_test(context, await show_token(context.session, token_id), own=False)


@router.post(_ANY_TEST, operation_id="page_check_token")
async def check_any(sent: TokenTest, token_id: TokenId, checks: CurrentChecks) -> Response:
    """Show the result of testing any token."""
    return await _test(sent, await show_token(sent.session, token_id), checks, own=False)


async def _test(sent: Submission, token: schemas.TokenView, checks: CurrentChecks, *, own: bool) -> Response:
    wanted = {"secret": sent.form.text("secret") or None, "server_ids": sent.form.texts("server_ids")}
    try:
        body = validate(schemas.ConnectionCheckRequest, wanted)
    except Invalid as error:
        sent.problems = Problems(error)
        return await _show_test(sent, token, own=own)
    found = await checks.run(sent.change, token.id, body, sent.runtime, sent.snapshot, sent.request)
    return await _show_test(sent, token, own=own, found=found)


def _with_times(text: str) -> Markup:
    """A step's text with its times as ``<time>`` elements, which a script converts to local time."""
    # The text is escaped, and a time consists of digits.
    return Markup(_TIME.sub(_TIME_TAG, str(visible(text))))  # noqa: S704


async def _show_test(
    context: PageContext, token: schemas.TokenView, *, own: bool, found: schemas.ConnectionCheck | None = None
) -> Response:
    action = (_OWN_TEST if own else _ANY_TEST).format(token_id=format_id(TOKEN, token.id))
    back = MY_ACCESS if own else link("token", token.id)
    return await context.page(
        "connection/page.html",
        token=token,
        action=action,
        back=back,
        check=found,
        with_times=_with_times,
        names={},
    )
