"""Issuing a token, steps 1 and 2: its holder and name, and its servers and tools.

The choices are kept in a draft on the server, so that searching and going back keep them.
"""

from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.point_in_time import AccessReader
from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.forms import validate
from app.adapters.console.page import PageRoute, redirect
from app.domain.errors import Malformed, NotFound
from app.features.identities import routes as identities
from app.features.identities.schemas import IdentityCreate, IdentityQuery
from app.features.identities.service import create_identity, find_identity
from app.features.tokens.drafts import (
    DraftContent,
    DraftServer,
    OfferedServer,
    begin_draft,
    offers_to,
    prospect_of,
    read_draft,
    save_draft,
)
from app.http.authorization import Permission
from app.http.schemas import Name, Strict
from app.lib.ids import IDENTITY, TOKEN_DRAFT, ServerId, TokenDraftId, format_id, parse_id
from app.models.identities import Identity
from app.models.tokens import TokenDraft

router = APIRouter(include_in_schema=False, route_class=PageRoute)

NEW = "/console/tokens/new"
PEOPLE_A_PAGE = 8
SERVERS_A_PAGE = 10
TOOLS_SHOWN = 200
Issuer = Annotated[PageContext, may_open(Permission.TOKENS_ISSUE)]
Chosen = Annotated[Submission, may_submit(Permission.TOKENS_ISSUE)]


class _Named(Strict):
    name: Name


def draft_path(draft: TokenDraft, step: str = "") -> str:
    """The path of a step of a draft."""
    return f"{NEW}/{format_id(TOKEN_DRAFT, draft.id)}{step}"


async def read_open_draft(
    context: PageContext, id: UUID, *, hold: bool = False
) -> tuple[TokenDraft, DraftContent]:
    """Read a draft whose token is not issued yet; ``hold`` locks it. Raises ``NotFound``."""
    draft, content = await read_draft(context.session, context.caller, id, hold=hold)
    if draft.token_id is not None:
        raise NotFound(
            "This token was already issued, and its secret was shown once. Find it in the list of tokens."
        )
    return draft, content


@router.get(NEW, operation_id="page_begin_token")
async def begin_token(context: Issuer) -> Response:
    """Show the first step of a new draft."""
    return await _show_who(context, None, DraftContent())


@router.post(NEW, operation_id="page_begin_draft")
async def begin(sent: Chosen) -> Response:
    """Create a draft from the first step."""
    async with sent.attempt():
        content = _who_and_why(sent, DraftContent())
        draft = await begin_draft(sent.session, sent.caller, content)
    if sent.problems:
        return await _show_who(sent, None, DraftContent())
    return redirect(draft_path(draft, "/tools"))


@router.post(f"{NEW}/identity", operation_id="page_make_holder")
async def make_holder(sent: Annotated[Submission, may_submit(Permission.IDENTITIES_WRITE)]) -> Response:
    """Create a person or an agent as the token's holder; the draft keeps its other choices."""
    form, caller = sent.form, sent.caller
    draft = await _find_draft(sent)
    async with sent.attempt():
        values: dict[str, Any] = {
            name: form.text(name) or None for name in ("kind", "user_name", "display_name")
        }
        if values["kind"] == "agent":
            values["owner_id"] = await _find_person(sent, form.text("owner"))
        body = validate(IdentityCreate, values)
        made = await create_identity(sent.session, caller, body, sent.runtime.clock, sent.request_id)
    if sent.problems:
        return await _show_who(sent, draft, DraftContent())
    step = NEW if draft is None else draft_path(draft, "/who")
    return redirect(f"{step}?identity_id={format_id(IDENTITY, made.id)}")


@router.get(NEW + "/{draft_id}/who", operation_id="page_token_who")
async def show_who(context: Issuer, draft_id: TokenDraftId) -> Response:
    """Show the first step of an existing draft."""
    draft, content = await read_open_draft(context, draft_id)
    return await _show_who(context, draft, content)


@router.post(NEW + "/{draft_id}/who", operation_id="page_keep_who")
async def keep_who(sent: Chosen, draft_id: TokenDraftId) -> Response:
    """Save the first step of an existing draft."""
    draft, content = await read_open_draft(sent, draft_id, hold=True)
    async with sent.attempt():
        await save_draft(sent.session, draft, _who_and_why(sent, content))
    if sent.problems:
        return await _show_who(sent, draft, content)
    return redirect(draft_path(draft, "/tools"))


@router.get(NEW + "/{draft_id}/tools", operation_id="page_token_tools")
async def show_tools(context: Issuer, draft_id: TokenDraftId) -> Response:
    """Show the servers that the holder's grants reach, or those that a new grant could add."""
    draft, content = await read_open_draft(context, draft_id)
    if content.identity_id is None:
        return redirect(draft_path(draft, "/who"))
    reader, may_grant = AccessReader(context.session, context.snapshot), context.may("grants.write")
    identity = await find_identity(context.session, content.identity_id)
    q, after, which = _text(context, "q"), _text(context, "after"), context.param("which")
    if which not in ("granted", "all"):
        granted = await offers_to(context.session, reader, identity.id, grantable=False, limit=1)
        which = "all" if may_grant and not granted.servers else "granted"
    grantable = may_grant and which == "all"
    offers = await offers_to(
        context.session, reader, identity.id, grantable=grantable, q=q, after=after, limit=SERVERS_A_PAGE
    )
    kept = {"which": "all" if grantable else "granted", "q": q}
    return context.page(
        "tokens/tools.html", draft=draft, content=content, path_of=draft_path(draft),
        identity=identity, who=_name_of(identity), offers=offers,
        prospect=await prospect_of(context.session, reader, content),
        grantable=grantable, may_grant=may_grant, q=q, kept=kept, after=after,
        more=_more(context, {**kept, "after": offers.following or ""}) if offers.following else None,
        first=_more(context, kept) if after else None,
    )  # fmt: skip


@router.post(NEW + "/{draft_id}/tools/choose", operation_id="page_choose_server")
async def choose_server(sent: Chosen, draft_id: TokenDraftId) -> Response:
    """Choose all tools of a server, its read-only tools, or none."""
    draft, content = await read_open_draft(sent, draft_id, hold=True)
    server_id, mode = _server_id(sent.form.text("server_id")), sent.form.text("mode")
    if mode == "none":
        content = content.without_server(server_id)
    elif mode in ("read", "all"):
        content = content.with_server(_choice(sent, server_id, mode))
    else:
        raise Malformed("The form cannot be read: choose some of the tools.")
    await save_draft(sent.session, draft, content)
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
    return context.page(
        "tokens/pick.html", path_of=draft_path(draft), server=offer, q=q, names=names,
        tools=matching[:TOOLS_SHOWN], hidden=max(0, len(matching) - TOOLS_SHOWN), grantable=grantable,
        who=_name_of(await find_identity(context.session, content.identity_id)),
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
    await save_draft(sent.session, draft, content)
    if form.text("do") == "done":
        return redirect(draft_path(draft, f"/tools?which={which}"))
    again = urlencode({"which": which, "q": form.text("q")})
    return redirect(f"{draft_path(draft)}/tools/{format_id('srv', server_id)}?{again}")


async def _show_who(context: PageContext, draft: TokenDraft | None, content: DraftContent) -> Response:
    given = context.form.text("identity_id") or context.param("identity_id")
    identity = await _identity_of(context, given, content)
    if context.param("change"):
        identity = None
    query = context.query(IdentityQuery, limit=PEOPLE_A_PAGE, status=["active"])
    found = None if identity else await identities.list_identities(query, context.session, context.runtime)
    people = found.items if found else []
    owners = await context.names([one.owner_id for one in people])
    return context.page(
        "tokens/who.html", path_of=draft_path(draft, "/who") if draft else NEW,
        draft=draft, content=content, identity=identity,
        who=_name_of(identity) if identity else "", people=people, owners=owners, q=query.q or "",
        more=bool(found and found.next_cursor), typed=context.form or None,
        owner=await context.name(identity.owner_id if identity else None),
    )  # fmt: skip


async def _find_draft(sent: Submission) -> TokenDraft | None:
    """The draft that a form belongs to, if any. Raises ``Malformed`` and ``NotFound``."""
    text = sent.form.text("draft_id")
    if not text:
        return None
    try:
        id = parse_id(TOKEN_DRAFT, text)
    except ValueError:
        raise Malformed("The form cannot be read. Open the page again.") from None
    return (await read_open_draft(sent, id))[0]


async def _identity_of(context: PageContext, given: str, content: DraftContent) -> Identity | None:
    if given:
        try:
            return await find_identity(context.session, parse_id(IDENTITY, given))
        except ValueError:
            raise NotFound("There is no such identity.") from None
    return None if content.identity_id is None else await find_identity(context.session, content.identity_id)


def _who_and_why(sent: Submission, content: DraftContent) -> DraftContent:
    """Read the first step. Raises ``Invalid`` if the name is missing, and ``Malformed``."""
    named = validate(_Named, {"name": sent.form.text("name")})
    changed = {"identity_id": sent.form.text("identity_id"), "name": named.name}
    return validate(DraftContent, content.model_dump() | changed)


async def _find_person(context: PageContext, user_name: str) -> UUID | None:
    asked = {"user_name": [user_name], "kind": ["person"], "status": ["active"], "limit": 1}
    query = validate(IdentityQuery, asked)
    found = (await identities.list_identities(query, context.session, context.runtime)).items
    return found[0].id if found else None


async def _offer(
    session: AsyncSession, reader: AccessReader, identity_id: UUID, server_id: UUID, *, grantable: bool
) -> OfferedServer:
    offers = await offers_to(session, reader, identity_id, grantable=grantable, server_ids=[server_id])
    if not offers.servers:
        raise NotFound("There is no such server, or none of its tools can be chosen.")
    return offers.servers[0]


def _names(chosen: DraftServer | None, offer: OfferedServer) -> set[str]:
    """The names of a server's chosen tools, in every mode."""
    if chosen is None:
        return set()
    if chosen.mode == "names":
        return set(chosen.names)
    return {tool.name for tool in offer.tools if chosen.mode == "all" or tool.risk == "read"}


def _choice(sent: Submission, server_id: UUID, mode: str, names: list[str] | None = None) -> DraftServer:
    # The permission to grant is checked when the grant is created.
    grant = _place(sent)["which"] == "all"
    values = {"server_id": server_id, "mode": mode, "names": names or [], "grant": grant}
    return validate(DraftServer, values)


def _place(sent: Submission) -> dict[str, str]:
    """The position in the list of servers, to return to it."""
    which = "all" if sent.form.text("which") == "all" else "granted"
    return {"which": which, "q": sent.form.text("q"), "after": sent.form.text("after")}


def _server_id(text: str) -> UUID:
    try:
        return parse_id("srv", text)
    except ValueError:
        raise Malformed("The form cannot be read: it names no server.") from None


def _text(context: PageContext, name: str) -> str:
    text = context.param(name)
    if len(text) > 500 or "\x00" in text:
        raise Malformed("The address has an invalid filter. Open the page again.")
    return text


def _more(context: PageContext, asked: dict[str, str]) -> str:
    return f"{context.request.url.path}?{urlencode(asked)}"


def _name_of(identity: Identity) -> str:
    return identity.display_name or identity.user_name
