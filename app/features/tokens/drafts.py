"""Token drafts of the console: selections are stored, so that searches and going back keep them.

A draft belongs only to its creator, is deleted after a day, and holds no secret. It gives no access either: the token
is issued by the same services as through the API, which check everything again.

What a token could reach, by its identity's grants or an additional one, is decided as calls are. For the additional
grant, the identity is treated as if everything were granted, so that what policies forbid or no grant can allow is not
offered.
"""

import hashlib
import json
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.point_in_time import AccessReader, AccessState
from app.db.change import Change
from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.objects import Identity, Server
from app.domain.policy import Effect
from app.domain.reach import Reach, reach, stop_reason, with_all_grants
from app.domain.risk import Risk
from app.features.grants.schemas import GrantCreate, IdentityPrincipal
from app.features.grants.service import create_grant
from app.features.servers.queries import select_servers
from app.features.servers.schemas import ServerQuery
from app.features.tokens.schemas import Network, TokenCreate, TokenDelivery
from app.features.tokens.service import IssuedToken, issue_token, person_of
from app.http import selectors
from app.http.authorization import Caller, Permission, authorize
from app.http.runtime import Runtime
from app.http.schemas import ShortText, Strict, Time
from app.lib.event_loop import in_slices
from app.lib.ids import IdentityId, ServerId
from app.models.servers import Server as ServerRow
from app.models.tokens import TokenDraft

LIFETIME = timedelta(days=1)
MAX_SERVERS = 90
"""Each needs at most one entry of a scope, which has up to a hundred."""
TOOLS_A_PAGE = 2_000
"""A page ends after this many tools, for any requested number of servers."""
_MAX_NAMED = 1_000
_MAX_DRAFTS = 20
_FORGOTTEN_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool that a token could reach; ``is_granted``: without another grant."""

    name: str
    risk: Risk
    is_granted: bool
    needs_approval: bool


@dataclass(frozen=True, slots=True)
class OfferedServer:
    """A server that a token could reach. ``is_granted``: at least a part of it without another grant; ``is_whole``: all
    of it, including resources and prompts."""

    id: UUID
    slug: str
    is_granted: bool
    is_whole: bool
    tools: tuple[OfferedTool, ...]


@dataclass(frozen=True, slots=True)
class Offers:
    """A page of servers by slug. ``stop_reason``: why the identity reaches nothing at all; ``following``: the slug to
    continue after."""

    stop_reason: str | None
    servers: tuple[OfferedServer, ...] = ()
    following: str | None = None


async def offers_to(
    session: AsyncSession,
    reader: AccessReader,
    identity_id: UUID,
    *,
    grantable: bool,
    q: str = "",
    server_ids: Iterable[UUID] | None = None,
    after: str = "",
    limit: int | None = 10,
) -> Offers:
    """Read a page of what a token of the identity could reach; with ``grantable``, also with a new grant.

    Without a ``limit``, the page has all of it. ``q`` is text in a server's name or description, or in the name of one
    of its tools. Raises ``NotFound`` and ``Unavailable``.
    """
    state = await reader.of([identity_id])
    identity = state.identities.get(identity_id)
    if identity is None:
        raise NotFound("There is no such identity.")
    reason = stop_reason(identity, reader.at)
    if reason is not None:
        return Offers(reason)
    named: frozenset[UUID] = frozenset()
    if q:
        # Text in their name or description, which the access snapshot does not have.
        with_text = select_servers(ServerQuery(q=q)).with_only_columns(col(ServerRow.id))
        named = frozenset(await session.scalars(with_text.limit(_MAX_NAMED)))
    within = None if server_ids is None else frozenset(server_ids)
    candidates = [
        server
        for server in sorted(state.servers.values(), key=lambda server: server.slug)
        if server.slug > after and (within is None or server.id in within)
    ]
    page = _page(identity, candidates, state, reader.at, q=q, named=named, grantable=grantable, limit=limit)
    servers, following = await in_slices(page)
    return Offers(None, servers, following)


def _page(
    identity: Identity, servers: Iterable[Server], state: AccessState, at: float, *,
    q: str, named: frozenset[UUID], grantable: bool, limit: int | None,
) -> Generator[None, None, tuple[tuple[OfferedServer, ...], str | None]]:  # fmt: skip
    anything = with_all_grants(identity)
    text = q.lower()
    offered: list[OfferedServer] = []
    tools = 0
    for server in servers:
        yield
        in_names = text in server.slug or any(text in name.lower() for name in server.tools)
        if q and server.id not in named and not in_names:
            continue
        own = yield from reach(identity, server, state.context, at)
        reachable = (yield from reach(anything, server, state.context, at)) if grantable else own
        if reachable is None:
            continue
        if limit is not None and (len(offered) == limit or tools > TOOLS_A_PAGE):
            return tuple(offered), offered[-1].slug
        offered.append(_offer(reachable, own))
        tools += len(reachable.tools)
    return tuple(offered), None


def _offer(reachable: Reach, own: Reach | None) -> OfferedServer:
    granted = frozenset() if own is None else frozenset(tool.name for tool, _ in own.tools)
    tools = tuple(
        OfferedTool(tool.name, tool.risk, tool.name in granted, decision.effect is Effect.REQUIRE_APPROVAL)
        for tool, decision in reachable.tools
    )
    is_whole = own is not None and len(granted) == len(tools) and reachable.parts.keys() == own.parts.keys()
    return OfferedServer(reachable.server.id, reachable.server.slug, own is not None, is_whole, tools)


class DraftServer(Strict):
    """The selected tools of one server: those that only read, all, or named ones.

    ``grant``: create a grant for what the identity lacks.
    """

    server_id: ServerId
    mode: Literal["read", "all", "names"]
    names: list[selectors.ToolName] = Field(default_factory=list, max_length=selectors.MAX_ITEMS)
    grant: bool = False

    def tools(self) -> selectors.ToolSelectorModel:
        """The selector for a scope or a grant."""
        if self.mode == "names":
            return selectors.ToolsByNamesModel(kind="names", names=self.names)
        if self.mode == "read":
            return selectors.ToolsByRiskModel.model_validate({"kind": "risk", "risk": ["read"]})
        return selectors.AllToolsModel(kind="all")


class DraftContent(Strict):
    """The current selections. ``lasts``: for how many days, or ``date``; the time itself is ``expires_at``."""

    identity_id: IdentityId | None = None
    name: Annotated[str, Field(max_length=200)] = ""
    servers: list[DraftServer] = Field(default_factory=list, max_length=MAX_SERVERS)
    lasts: ShortText = ""
    expires_at: Time | None = None
    ip_allow: list[Network] = Field(default_factory=list, max_length=100)
    delivery: TokenDelivery = "reveal"

    def of_server(self, server_id: UUID) -> DraftServer | None:
        """The selection for a server."""
        return next((server for server in self.servers if server.server_id == server_id), None)

    def with_server(self, chosen: DraftServer) -> "DraftContent":
        """Replace the selection for a server. Raises ``Invalid`` when there are too many."""
        others = self.without_server(chosen.server_id).servers
        if len(others) >= MAX_SERVERS:
            detail = f"A token draft can have at most {MAX_SERVERS} servers."
            raise Invalid.field("/servers", "too_many", detail)
        return self.model_copy(update={"servers": [*others, chosen]})

    def without_server(self, server_id: UUID) -> "DraftContent":
        """Remove the selection for a server."""
        others = [server for server in self.servers if server.server_id != server_id]
        return self.model_copy(update={"servers": others})

    def scope(self) -> selectors.ListedScopeModel:
        """The scope; servers with the same kind of selection share an entry."""
        entries = [
            selectors.ScopeEntryModel(servers=selectors.ServersByIdsModel(kind="ids", ids=ids), tools=tools)
            for ids, tools in group_servers(self.servers)
        ]
        return selectors.ListedScopeModel(kind="listed", entries=entries)

    def token(self) -> TokenCreate:
        """The token to issue. Raises ``Invalid`` if the draft is incomplete."""
        if self.identity_id is None or not self.name or not self.servers or self.expires_at is None:
            raise Invalid("The draft is not complete: go through the steps.")
        same = self.model_dump(include={"identity_id", "name", "expires_at", "ip_allow", "delivery"})
        return TokenCreate(scope=self.scope(), **same)


def group_servers(servers: list[DraftServer]) -> list[tuple[list[UUID], selectors.ToolSelectorModel]]:
    """Group servers with all tools or all reading tools selected; each of the others is a group of its own."""
    groups: dict[Any, list[DraftServer]] = {}
    for server in servers:
        groups.setdefault(server.server_id if server.mode == "names" else server.mode, []).append(server)
    return [([server.server_id for server in group], group[0].tools()) for group in groups.values()]


async def begin_draft(session: AsyncSession, caller: Caller, content: DraftContent) -> TokenDraft:
    """Create a draft for the caller, who keeps the newest ones. Deletes expired drafts of all callers.

    Raises ``Forbidden`` for a caller who is not a person.
    """
    person_id = person_of(caller)
    old = select(col(TokenDraft.id)).where(col(TokenDraft.created_at) < func.now() - LIFETIME)
    mine = (
        select(col(TokenDraft.id))
        .where(col(TokenDraft.person_id) == person_id)
        .order_by(col(TokenDraft.id).desc())
        .offset(_MAX_DRAFTS - 1)
    )
    for gone in (old.limit(_FORGOTTEN_AT_ONCE).with_for_update(skip_locked=True), mine):
        await session.execute(delete(TokenDraft).where(col(TokenDraft.id).in_(gone)))
    draft = TokenDraft(person_id=person_id, content=content.model_dump(mode="json"))
    session.add(draft)
    await session.flush()
    return draft


async def read_draft(
    session: AsyncSession, caller: Caller, id: UUID, *, hold: bool = False
) -> tuple[TokenDraft, DraftContent]:
    """Read a draft of the caller; with ``hold`` it is locked until this transaction ends.

    Raises ``NotFound`` for another caller's, and for an expired one.
    """
    query = select(TokenDraft).where(
        col(TokenDraft.id) == id,
        col(TokenDraft.person_id) == person_of(caller),
        col(TokenDraft.created_at) >= func.now() - LIFETIME,
    )
    if hold:
        query = query.with_for_update().execution_options(populate_existing=True)
    draft = await session.scalar(query)
    if draft is None:
        raise NotFound("There is no such draft: drafts are kept for a day. Start a new one.")
    return draft, DraftContent.model_validate(draft.content)


async def save_draft(session: AsyncSession, draft: TokenDraft, content: DraftContent) -> None:
    """Store the selections of a locked draft."""
    draft.content = content.model_dump(mode="json")
    draft.revision += 1
    await session.flush()


@dataclass(frozen=True, slots=True)
class ChosenServer:
    """A server of a draft with the tools that the token would reach; ``slug`` is None when it can reach none of it now.
    ``needs_grant``: it needs a new grant."""

    chosen: DraftServer
    slug: str | None
    tools: tuple[OfferedTool, ...]
    needs_grant: bool


@dataclass(frozen=True, slots=True)
class Prospect:
    """The reach of a draft's token. ``stopped``: why its identity reaches nothing at all."""

    content: DraftContent
    stopped: str | None
    servers: tuple[ChosenServer, ...]

    @property
    def needing(self) -> list[DraftServer]:
        """The servers that need a new grant."""
        return [server.chosen for server in self.servers if server.needs_grant]

    @property
    def mark(self) -> str:
        """A digest of the token and of the grants that it needs, so that a confirmation covers no others."""
        needing = [server.model_dump(mode="json") for server in self.needing]
        content = json.dumps([self.content.model_dump(mode="json"), needing], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


async def prospect_of(session: AsyncSession, reader: AccessReader, content: DraftContent) -> Prospect:
    """Compute the result of issuing a draft now. Raises ``NotFound`` and ``Unavailable``."""
    if content.identity_id is None or not content.servers:
        return Prospect(content, None, ())
    ids = [server.server_id for server in content.servers]
    offers = await offers_to(session, reader, content.identity_id, grantable=True, server_ids=ids, limit=None)
    by_server = {server.id: server for server in offers.servers}
    servers = tuple(_choose(chosen, by_server.get(chosen.server_id)) for chosen in content.servers)
    return Prospect(content, offers.stop_reason, servers)


def _choose(chosen: DraftServer, offer: OfferedServer | None) -> ChosenServer:
    if offer is None:
        return ChosenServer(chosen, None, (), needs_grant=False)
    if chosen.mode == "read":
        picked = [tool for tool in offer.tools if tool.risk is Risk.READ]
    else:
        picked = [tool for tool in offer.tools if chosen.mode == "all" or tool.name in chosen.names]
    tools = tuple(tool for tool in picked if tool.is_granted or chosen.grant)
    lacking = not offer.is_granted or not all(tool.is_granted for tool in picked)
    if chosen.mode == "all":
        lacking = lacking or not offer.is_whole
    return ChosenServer(chosen, offer.slug, tools, needs_grant=chosen.grant and lacking)


def grants_for(content: DraftContent, needing: list[DraftServer]) -> list[GrantCreate]:
    """The grants that the identity lacks, which expire with the token."""
    if content.identity_id is None:
        return []
    return [
        GrantCreate(
            principal=IdentityPrincipal(type="identity", id=content.identity_id),
            servers=selectors.ServersByIdsModel(kind="ids", ids=ids),
            tools=tools,
            expires_at=content.expires_at,
            reason=content.name,
        )
        for ids, tools in group_servers(needing)
    ]


async def issue_draft(
    change: Change,
    draft: TokenDraft,
    content: DraftContent,
    confirmed: str,
    reader: AccessReader,
    runtime: Runtime,
) -> IssuedToken:
    """Create the grants that a locked draft needs, ``confirmed`` by their digest, and issue its token, in one
    transaction.

    Raises ``Conflict`` for a draft that was issued, differs from the confirmed one, or needs other grants;
    ``Forbidden`` when grants are needed and the caller may not create them; and what creating grants and issuing raise.
    """
    if draft.token_id is not None:
        detail = "This token is already issued; its secret was shown once."
        raise Conflict(detail, code="draft_already_issued")
    body = content.token()
    prospect = await prospect_of(change.session, reader, content)
    if prospect.mark != confirmed:
        raise Conflict(
            "The token or the grants changed since this was shown: review the summary again.",
            code="draft_changed",
        )
    if prospect.needing:
        authorize(change.caller, Permission.GRANTS_WRITE)
    for grant in grants_for(content, prospect.needing):
        await create_grant(change, grant)
    issued = await issue_token(change, body, runtime)
    draft.token_id = issued.token.id
    draft.revision += 1
    await change.session.flush()
    return issued
