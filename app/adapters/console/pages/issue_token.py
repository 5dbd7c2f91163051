"""Issuing a token: its holder and name, its servers and tools, its limits, the summary, and the secret, shown once.

The choices are kept in a draft on the server, so that searching and going back keep them.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.point_in_time import AccessReader
from app.adapters.console.context import PageContext, Submission, may_open, may_submit, on_refusal
from app.adapters.console.display import describe_access
from app.adapters.console.forms import end_of_day, validate
from app.adapters.console.page import PageRoute, redirect, with_query
from app.adapters.console.pages.principals import find_identity_id
from app.domain.errors import Invalid, Malformed, NotFound
from app.domain.risk import Risk
from app.features.audit.queries import first_use
from app.features.identities import service as identities
from app.features.identities.queries import can_sign_in
from app.features.identities.schemas import IdentityCreate, IdentityQuery, IdentityView
from app.features.identities.service import create_identity, find_identity
from app.features.tokens import drafts
from app.features.tokens.schemas import PickupView, connect_settings
from app.features.tokens.service import show_token
from app.http.authorization import Caller, Permission
from app.http.live import News, live_event
from app.http.pagination import Page
from app.http.schemas import Name, Strict
from app.http.selectors import reaches_by_default
from app.lib.ids import IDENTITY, SERVER, TOKEN, TOKEN_DRAFT, ServerId, TokenDraftId, TokenId, format_id
from app.models.tokens import TokenDraft

router = APIRouter(include_in_schema=False, route_class=PageRoute)

NEW = "/console/tokens/new"
PEOPLE_A_PAGE = 8
SERVERS_A_PAGE = 10
TOOLS_SHOWN = 200
Issuer = Annotated[PageContext, may_open(Permission.TOKENS_ISSUE)]
Chosen = Annotated[Submission, may_submit(Permission.TOKENS_ISSUE)]
PRESETS = (1, 7, 30, 90)
"""The offered lifetimes in days, as far as the configuration allows them."""
USUAL = 30
_PARTS = ("resources", "prompts")
_RISKS = ((Risk.READ, "only read"), (Risk.WRITE, "write"), (Risk.UNKNOWN, "of unknown risk"))


class _Named(Strict):
    name: Name


def draft_path(draft: TokenDraft, step: str = "") -> str:
    """The path of a step of a draft."""
    return f"{NEW}/{format_id(TOKEN_DRAFT, draft.id)}{step}"


async def read_open_draft(
    context: PageContext, id: UUID, *, hold: bool = False
) -> tuple[TokenDraft, drafts.DraftContent]:
    """Read a draft whose token is not issued yet; ``hold`` locks it. Raises ``NotFound``."""
    draft, content = await drafts.read_draft(context.session, context.caller, id, hold=hold)
    if draft.token_id is not None:
        raise NotFound(
            "This token was already issued, and its secret was shown once. Find it in the list of tokens."
        )
    return draft, content


async def describe_holder(context: PageContext, identity_id: UUID) -> dict[str, Any]:
    """The holder of a token, and the person who receives its secret, as values of a page."""
    identity = await find_identity(context.session, identity_id)
    recipient = identity.owner_id or identity.id
    return {
        "identity": identity,
        "who": identity.display_name or identity.user_name,
        "recipient_id": recipient,
        "recipient": await context.name(recipient, "its owner"),
    }


@router.get(NEW, operation_id="page_begin_token")
async def begin_token(context: Issuer) -> Response:
    """Show the first step of a new draft."""
    return await _show_who(context, None, drafts.DraftContent())


@router.post(NEW, operation_id="page_begin_draft")
@on_refusal(begin_token)
async def begin(sent: Chosen) -> Response:
    """Create a draft from the first step."""
    content = _who_and_why(sent, drafts.DraftContent())
    draft = await drafts.begin_draft(sent.session, sent.caller, content)
    return redirect(draft_path(draft, "/tools"))


@router.post(f"{NEW}/identity", operation_id="page_make_holder")
async def make_holder(sent: Annotated[Submission, may_submit(Permission.IDENTITIES_WRITE)]) -> Response:
    """Create a person or an agent as the token's holder; the draft keeps its other choices."""
    form, draft = sent.form, None
    if id := form.optional_id("draft_id", TOKEN_DRAFT):
        draft, _ = await read_open_draft(sent, id)
    async with sent.attempt():
        values = {name: form.text(name) or None for name in ("kind", "user_name", "display_name")}
        owner = {}
        if values["kind"] == "agent":
            owner_id = await find_identity_id(sent, form.text("owner"), kind=["person"], status=["active"])
            owner = {"owner_id": owner_id}
        made = await create_identity(sent.change, validate(IdentityCreate, values | owner))
    if sent.problems:
        return await _show_who(sent, draft, drafts.DraftContent())
    step = NEW if draft is None else draft_path(draft, "/who")
    return redirect(f"{step}?identity_id={format_id(IDENTITY, made.id)}")


@router.get(NEW + "/{draft_id}/who", operation_id="page_token_who")
async def show_who(context: Issuer, draft_id: TokenDraftId) -> Response:
    """Show the first step of an existing draft."""
    draft, content = await read_open_draft(context, draft_id)
    return await _show_who(context, draft, content)


@router.post(NEW + "/{draft_id}/who", operation_id="page_keep_who")
@on_refusal(show_who)
async def keep_who(sent: Chosen, draft_id: TokenDraftId) -> Response:
    """Save the first step of an existing draft."""
    draft, content = await read_open_draft(sent, draft_id, hold=True)
    await drafts.save_draft(sent.session, draft, _who_and_why(sent, content))
    return redirect(draft_path(draft, "/tools"))


@router.get(NEW + "/{draft_id}/tools", operation_id="page_token_tools")
async def show_tools(context: Issuer, draft_id: TokenDraftId) -> Response:
    """Show the servers that the holder's grants reach, or those that a new grant could add."""
    draft, content = await read_open_draft(context, draft_id)
    if content.identity_id is None:
        return redirect(draft_path(draft, "/who"))
    reader, may_grant = AccessReader(context.session, context.snapshot), context.may("grants.write")
    session, holder = context.session, content.identity_id
    q, after, which = _text(context, "q"), _text(context, "after"), context.param("which")
    if which not in ("granted", "all"):
        granted = await drafts.offers_to(session, reader, holder, grantable=False, limit=1)
        which = "all" if may_grant and not granted.servers else "granted"
    grantable = may_grant and which == "all"
    offers = await drafts.offers_to(
        session, reader, holder, grantable=grantable, q=q, after=after, limit=SERVERS_A_PAGE
    )
    kept = {"which": "all" if grantable else "granted", "q": q}
    path, following = context.request.url.path, {**kept, "after": offers.following or ""}
    return await context.page(
        "tokens/tools.html", content=content, path_of=draft_path(draft), offers=offers, names={},
        prospect=await drafts.prospect_of(session, reader, content),
        grantable=grantable, may_grant=may_grant, q=q, kept=kept, after=after,
        more=with_query(path, following) if offers.following else None,
        first=with_query(path, kept) if after else None, **await describe_holder(context, holder),
    )  # fmt: skip


@router.post(NEW + "/{draft_id}/tools/choose", operation_id="page_choose_server")
async def choose_server(sent: Chosen, draft_id: TokenDraftId) -> Response:
    """Choose all tools of a server, its read-only tools, or none."""
    draft, content = await read_open_draft(sent, draft_id, hold=True)
    server_id, mode = sent.form.object_id("server_id", SERVER), sent.form.text("mode")
    if mode == "none":
        content = content.without_server(server_id)
    elif mode in ("read", "all"):
        content = content.with_server(_choice(sent, server_id, mode))
    else:
        raise Malformed("The form cannot be read: choose some of the tools.")
    await drafts.save_draft(sent.session, draft, content)
    return redirect(f"{draft_path(draft, '/tools')}?{urlencode(_place(sent))}")


@router.get(NEW + "/{draft_id}/tools/{server_id}", operation_id="page_pick_tools")
async def pick_tools(context: Issuer, draft_id: TokenDraftId, server_id: ServerId) -> Response:
    """Show the tools of one server to choose from."""
    draft, content = await read_open_draft(context, draft_id)
    if content.identity_id is None:
        return redirect(draft_path(draft, "/who"))
    grantable = context.may("grants.write") and context.param("which") == "all"
    reader = AccessReader(context.session, context.snapshot)
    offer = await _offer(context.session, reader, content.identity_id, server_id, grantable=grantable)
    chosen, q = content.of_server(server_id), _text(context, "q")
    names = _names(chosen, offer)
    matching = [tool for tool in offer.tools if q.lower() in tool.name.lower()]
    return await context.page(
        "tokens/pick.html", path_of=draft_path(draft), server=offer, q=q, names=names,
        tools=matching[:TOOLS_SHOWN], hidden=max(0, len(matching) - TOOLS_SHOWN), grantable=grantable,
    )  # fmt: skip


@router.post(NEW + "/{draft_id}/tools/{server_id}", operation_id="page_keep_tools")
async def keep_tools(sent: Chosen, draft_id: TokenDraftId, server_id: ServerId) -> Response:
    """Save the checked tools; tools that were not shown keep their choice."""
    draft, content = await read_open_draft(sent, draft_id, hold=True)
    if content.identity_id is None:
        return redirect(draft_path(draft, "/who"))
    form, which = sent.form, _place(sent)["which"]
    reader, grantable = AccessReader(sent.session, sent.snapshot), which == "all" and sent.may("grants.write")
    offer = await _offer(sent.session, reader, content.identity_id, server_id, grantable=grantable)
    shown, ticked = set(form.texts("shown")), set(form.texts("tool"))
    names = (_names(content.of_server(server_id), offer) - shown) | ticked
    kept = [tool.name for tool in offer.tools if tool.name in names]
    chosen = _choice(sent, server_id, "names", kept)
    content = content.with_server(chosen) if kept else content.without_server(server_id)
    await drafts.save_draft(sent.session, draft, content)
    if form.text("do") == "done":
        return redirect(draft_path(draft, f"/tools?which={which}"))
    again = urlencode({"which": which, "q": form.text("q")})
    return redirect(f"{draft_path(draft)}/tools/{format_id(SERVER, server_id)}?{again}")


async def _show_who(context: PageContext, draft: TokenDraft | None, content: drafts.DraftContent) -> Response:
    id = context.typed.optional_id("identity_id", IDENTITY) or content.identity_id
    identity, found = None, Page[IdentityView](items=[], next_cursor=None)
    if id is not None and not context.param("change"):
        identity = await find_identity(context.session, id)
    query = context.query(IdentityQuery, limit=PEOPLE_A_PAGE, status=["active"])
    if identity is None:
        found = await identities.list_identities(context.session, query, context.runtime)
    return await context.page(
        "tokens/who.html", path_of=draft_path(draft, "/who") if draft else NEW, draft=draft, content=content,
        identity=identity, people=found.items, more=found.next_cursor, q=query.q or "",
    )  # fmt: skip


def _who_and_why(sent: Submission, content: drafts.DraftContent) -> drafts.DraftContent:
    """Read the first step. Raises ``Invalid`` if the name is missing, and ``Malformed``."""
    named = validate(_Named, {"name": sent.form.text("name")})
    changed = {"identity_id": sent.form.text("identity_id"), "name": named.name}
    return validate(drafts.DraftContent, content.model_dump() | changed)


async def _offer(
    session: AsyncSession, reader: AccessReader, identity_id: UUID, server_id: UUID, *, grantable: bool
) -> drafts.OfferedServer:
    offers = await drafts.offers_to(session, reader, identity_id, grantable=grantable, server_ids=[server_id])
    if not offers.servers:
        raise NotFound("There is no such server, or none of its tools can be chosen.")
    return offers.servers[0]


def _names(chosen: drafts.DraftServer | None, offer: drafts.OfferedServer) -> set[str]:
    """The names of a server's chosen tools, in every mode."""
    if chosen is None:
        return set()
    if chosen.mode == "names":
        return set(chosen.names)
    return {tool.name for tool in offer.tools if chosen.mode == "all" or tool.risk == "read"}


def _choice(
    sent: Submission, server_id: UUID, mode: str, names: list[str] | None = None
) -> drafts.DraftServer:
    # The permission to grant is checked when the grant is created.
    grant = _place(sent)["which"] == "all"
    values = {"server_id": server_id, "mode": mode, "names": names or [], "grant": grant}
    return validate(drafts.DraftServer, values)


def _place(sent: Submission) -> dict[str, str]:
    """The position in the list of servers, to return to it."""
    which = "all" if sent.form.text("which") == "all" else "granted"
    return {"which": which, "q": sent.form.text("q"), "after": sent.form.text("after")}


def _text(context: PageContext, name: str) -> str:
    text = context.param(name)
    if len(text) > 500 or "\x00" in text:
        raise Malformed("The address has an invalid filter. Open the page again.")
    return text


@router.get(NEW + "/{draft_id}", operation_id="page_token_draft")
async def show_draft(context: Issuer, draft_id: TokenDraftId) -> Response:
    """Redirect to the first incomplete step; show that the token was issued if it was."""
    draft, content = await drafts.read_draft(context.session, context.caller, draft_id)
    if draft.token_id is not None:
        return await _issued_already(context, draft.token_id)
    return redirect(draft_path(draft, _missing(content) or "/summary"))


@router.get(NEW + "/{draft_id}/limits", operation_id="page_token_limits")
async def show_limits(context: Issuer, draft_id: TokenDraftId) -> Response:
    """Show the form for the expiry, the allowed addresses and the delivery of the secret."""
    draft, content = await read_open_draft(context, draft_id)
    if content.identity_id is None or _missing(content) in ("/who", "/tools"):
        return redirect(draft_path(draft, _missing(content)))
    now, longest = context.now, context.runtime.max_token_ttl
    presets = [(days, now + timedelta(days=days)) for days in PRESETS if timedelta(days=days) <= longest]
    form, shortest = context.form, str(presets[-1][0]) if presets else "date"
    usual = content.lasts or (str(USUAL) if timedelta(days=USUAL) <= longest else shortest)
    saved_date = "" if content.expires_at is None else f"{content.expires_at:%Y-%m-%d}"
    holder = await describe_holder(context, content.identity_id)
    return await context.page(
        "tokens/limits.html", path_of=draft_path(draft), presets=presets,
        lasts=form.text("lasts", usual), date=form.text("date", saved_date),
        ip_allow=form.raw("ip_allow", "\n".join(content.ip_allow)), delivery=form.text("delivery", content.delivery),
        soonest=now.date(), latest=now + longest, days=longest.days,
        can_pick_up=await can_sign_in(context.session, holder["recipient_id"]),
        pickup_hours=int(context.runtime.pickup_ttl.total_seconds() // 3600), **holder,
    )  # fmt: skip


@router.post(NEW + "/{draft_id}/limits", operation_id="page_keep_limits")
@on_refusal(show_limits)
async def keep_limits(sent: Chosen, draft_id: TokenDraftId) -> Response:
    """Save the limits."""
    draft, content = await read_open_draft(sent, draft_id, hold=True)
    changed: dict[str, Any] = {name: sent.form.text(name) for name in ("lasts", "delivery")}
    changed |= {"expires_at": _end_of(sent), "ip_allow": sent.form.raw("ip_allow").split()}
    content = validate(drafts.DraftContent, content.model_dump() | changed)
    await drafts.save_draft(sent.session, draft, content)
    return redirect(draft_path(draft, "/summary"))


@router.get(NEW + "/{draft_id}/summary", operation_id="page_token_summary")
async def show_summary(context: Issuer, draft_id: TokenDraftId) -> Response:
    """Show what is about to be issued."""
    draft, content = await drafts.read_draft(context.session, context.caller, draft_id)
    if draft.token_id is not None:  # As after going back from the secret.
        return await _issued_already(context, draft.token_id)
    if content.identity_id is None or _missing(content):
        return redirect(draft_path(draft, _missing(content)))
    reader = AccessReader(context.session, context.snapshot)
    prospect = await drafts.prospect_of(context.session, reader, content)
    tools = [tool for server in prospect.servers for tool in server.tools]
    counts = Counter(tool.risk for tool in tools)
    return await context.page(
        "tokens/summary.html", path_of=draft_path(draft), content=content, prospect=prospect,
        names={}, grants=_describe_grants(content, prospect),
        kinds=[f"{counts[risk]} {words}" for risk, words in _RISKS if counts[risk]],
        total=len(tools), reached=sum(1 for one in prospect.servers if one.slug and one.tools),
        destructive=counts[Risk.DESTRUCTIVE], asked=sum(tool.needs_approval for tool in tools),
        **await describe_holder(context, content.identity_id),
    )  # fmt: skip


@router.get(NEW + "/{draft_id}/issue", operation_id="page_token_issued")
async def show_issued(_: Issuer, draft_id: TokenDraftId) -> Response:
    """Redirect from the address of the secret, which only the POST's response shows."""
    return redirect(f"{NEW}/{format_id('drf', draft_id)}")


@router.post(NEW + "/{draft_id}/issue", operation_id="page_issue_token")
async def issue(sent: Chosen, draft_id: TokenDraftId) -> Response:
    """Issue the token. Only this response contains the secret; a repeated POST shows that it was issued."""
    draft, content = await drafts.read_draft(sent.session, sent.caller, draft_id, hold=True)
    if draft.token_id is not None:
        return await _issued_already(sent, draft.token_id)
    reader, confirmed = AccessReader(sent.session, sent.snapshot), sent.form.text("mark")
    async with sent.attempt():
        issued = await drafts.issue_draft(sent.change, draft, content, confirmed, reader, sent.runtime)
    if sent.problems:
        return await show_summary(sent, draft_id)
    public_url = sent.runtime.public_url
    pickup = None if issued.pickup is None else PickupView.from_reading(issued.pickup, public_url)
    return await sent.page(
        "tokens/secret.html", token=issued.token, secret=issued.secret, pickup=pickup,
        connect=connect_settings(public_url), rotated=False, use=None,
    )  # fmt: skip


@router.get("/console/tokens/{token_id}/first-use/live", operation_id="page_first_use")
async def watch_first_use(
    context: Annotated[PageContext, may_open(Permission.TOKENS_READ)], token_id: TokenId
) -> Response:
    """Stream the progress of a token's first use until a call is allowed."""
    await show_token(context.session, token_id)
    last: Any = "nothing"

    async def look(session: AsyncSession, caller: Caller) -> News:  # noqa: ARG001 - tokens.read sees all
        nonlocal last
        found = await first_use(session, token_id)
        if found == last:
            return News()
        last = found
        is_last = found is not None and found.kind == "called"
        events = [await context.event("tokens/light.html", use=found, token_id=format_id(TOKEN, token_id))]
        if is_last:
            events.append(live_event("", name="ended"))
        return News(events, is_last=is_last)

    return context.stream(Permission.TOKENS_READ, look)


def _missing(content: drafts.DraftContent) -> str:
    """The path of the first incomplete step; empty when all are complete."""
    if content.identity_id is None or not content.name:
        return "/who"
    if not content.servers:
        return "/tools"
    return "" if content.expires_at is not None else "/limits"


def _end_of(sent: Submission) -> datetime:
    """The chosen expiry. Raises ``Invalid``."""
    now, lasts = sent.now, sent.form.text("lasts")
    latest = now + sent.runtime.max_token_ttl
    if lasts == "date":
        end = end_of_day(sent.form.text("date"), "/expires_at")
    elif lasts in {str(days) for days in PRESETS}:
        end = (now + timedelta(days=int(lasts))).replace(second=0, microsecond=0)
    else:
        raise Invalid.field("/expires_at", "missing", "Choose when the token expires.")
    if end <= now:
        raise Invalid.field("/expires_at", "in_the_past", "This day is in the past. Choose a later one.")
    if end > latest:
        # The last allowed day can be chosen; the token then expires at the maximum lifetime.
        if end.date() > latest.date():
            raise Invalid.field("/expires_at", "too_late", f"The latest possible day is {latest:%-d %b %Y}.")
        end = latest.replace(second=0, microsecond=0)
    return end


def _describe_grants(content: drafts.DraftContent, prospect: drafts.Prospect) -> list[str]:
    """Describe each grant that is created with the token."""
    slugs = {one.chosen.server_id: one.slug or "a server" for one in prospect.servers}
    made = drafts.grants_for(content, prospect.needing)
    return [
        describe_access(one.model_copy(update=dict.fromkeys(_PARTS, reaches_by_default(one.tools))), slugs)
        for one in made
    ]


async def _issued_already(context: PageContext, token_id: UUID) -> Response:
    token = await show_token(context.session, token_id)
    return await context.page("tokens/issued_already.html", token=token, status=409)
