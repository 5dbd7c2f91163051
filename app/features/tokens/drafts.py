"""Tokens that somebody is putting together on the console's pages, kept so that no search and no step back loses what
was chosen.

A draft is its maker's alone, is gone after a day, and holds no secret. It gives no right either: what comes of it is
issued by the services that issue for the API, which ask for everything anew.

What a token that is being put together would reach, which grants it needs for that, and issuing it with them.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.point_in_time import AccessReader
from app.db.change import Change, write
from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.risk import Risk
from app.features.grants.schemas import GrantCreate, IdentityPrincipal
from app.features.grants.service import create_grant
from app.features.tokens.draft_choices import OfferedServer, OfferedTool, offers_to
from app.features.tokens.own import person_of
from app.features.tokens.schemas import Network, TokenCreate, TokenDelivery
from app.features.tokens.service import Issued, issue_token
from app.http.authorization import Caller, Permission, authorize
from app.http.runtime import Runtime
from app.http.schemas import ShortText, Strict, Time
from app.http.selectors import (
    MOST_ITEMS,
    AllToolsModel,
    ListedScopeModel,
    ScopeEntryModel,
    ServersByIdsModel,
    ToolName,
    ToolsByNamesModel,
    ToolsByRiskModel,
    ToolSelectorModel,
)
from app.lib.ids import IdentityId, ServerId
from app.models.tokens import TokenDraft

LIFETIME = timedelta(days=1)
MOST_SERVERS = 90
"""Each is one entry of a scope at most, which has a hundred."""
_MOST_DRAFTS = 20
_FORGOTTEN_AT_ONCE = 500


class DraftServer(Strict):
    """The tools of one server that the token is to reach: those that read, all, or those that are named.

    ``grant``: a grant is to be made of what the identity has none for.
    """

    server_id: ServerId
    mode: Literal["read", "all", "names"]
    names: list[ToolName] = Field(default_factory=list, max_length=MOST_ITEMS)
    grant: bool = False

    def tools(self) -> ToolSelectorModel:
        """What a scope or a grant says of it."""
        if self.mode == "names":
            return ToolsByNamesModel(kind="names", names=self.names)
        if self.mode == "read":
            return ToolsByRiskModel.model_validate({"kind": "risk", "risk": ["read"]})
        return AllToolsModel(kind="all")


class DraftContent(Strict):
    """What was chosen so far. ``lasts``: for how many days, or ``date``; the time itself is ``expires_at``."""

    identity_id: IdentityId | None = None
    name: Annotated[str, Field(max_length=200)] = ""
    servers: list[DraftServer] = Field(default_factory=list, max_length=MOST_SERVERS)
    lasts: ShortText = ""
    expires_at: Time | None = None
    ip_allow: list[Network] = Field(default_factory=list, max_length=100)
    delivery: TokenDelivery = "reveal"

    def of_server(self, server_id: UUID) -> DraftServer | None:
        """What was chosen of a server."""
        return next((one for one in self.servers if one.server_id == server_id), None)

    def with_server(self, chosen: DraftServer) -> "DraftContent":
        """With this in the place of what was chosen of the server. Raises ``Invalid`` when there are too many."""
        kept = [one for one in self.servers if one.server_id != chosen.server_id]
        if len(kept) >= MOST_SERVERS:
            raise Invalid.field(
                "/servers", "too_many", f"A token is put together of at most {MOST_SERVERS} servers here."
            )
        return self.model_copy(update={"servers": [*kept, chosen]})

    def without_server(self, server_id: UUID) -> "DraftContent":
        """Without what was chosen of the server."""
        return self.model_copy(
            update={"servers": [one for one in self.servers if one.server_id != server_id]}
        )

    def scope(self) -> ListedScopeModel:
        """The servers that are chosen alike share an entry."""
        entries = [
            ScopeEntryModel(servers=ServersByIdsModel(kind="ids", ids=ids), tools=tools)
            for ids, tools in alike(self.servers)
        ]
        return ListedScopeModel(kind="listed", entries=entries)

    def order(self) -> dict[str, Any]:
        """What ``TokenCreate`` is made of; whoever reads it finds what is missing."""
        return {
            "identity_id": self.identity_id,
            "name": self.name,
            "scope": self.scope(),
            "expires_at": self.expires_at,
            "ip_allow": self.ip_allow,
            "delivery": self.delivery,
        }

    def token(self) -> TokenCreate:
        """The token that it asks for. Raises ``Invalid`` while something is missing."""
        if self.identity_id is None or not self.name or not self.servers or self.expires_at is None:
            raise Invalid("Something is missing yet: go through the steps.")
        return TokenCreate(**self.order())


def alike(servers: list[DraftServer]) -> list[tuple[list[UUID], ToolSelectorModel]]:
    """Servers of which all tools, or those that read, are chosen, together; each of the others by itself."""
    groups: dict[Any, list[DraftServer]] = {}
    for one in servers:
        groups.setdefault(one.server_id if one.mode == "names" else one.mode, []).append(one)
    return [([one.server_id for one in group], group[0].tools()) for group in groups.values()]


async def begin_draft(session: AsyncSession, caller: Caller, content: DraftContent) -> TokenDraft:
    """A new draft of the caller's, who keeps the newest few. What is too old goes, whoever's it is.

    Raises ``Forbidden`` for whoever is not a person.
    """
    person_id = person_of(caller)
    old = select(col(TokenDraft.id)).where(col(TokenDraft.created_at) < func.now() - LIFETIME)
    mine = (
        select(col(TokenDraft.id))
        .where(col(TokenDraft.person_id) == person_id)
        .order_by(col(TokenDraft.id).desc())
        .offset(_MOST_DRAFTS - 1)
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
    """A draft of the caller's; with ``hold`` nobody else changes or issues it until this transaction ends.

    Raises ``NotFound`` for anybody else's, and for one that is too old.
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
        raise NotFound("There is no such draft any more: drafts are kept for a day. Begin anew.")
    return draft, DraftContent.model_validate(draft.content)


async def save_draft(session: AsyncSession, draft: TokenDraft, content: DraftContent) -> None:
    """Keep what is chosen now, of a draft that is held."""
    draft.content = content.model_dump(mode="json")
    draft.revision += 1
    await session.flush()


@dataclass(frozen=True, slots=True)
class ChosenServer:
    """A server of a draft with the tools that the token would reach; ``slug`` is None when it can reach nothing of it
    now. ``needs_grant``: a grant has to be made for that."""

    chosen: DraftServer
    slug: str | None
    tools: tuple[OfferedTool, ...]
    needs_grant: bool

    def of_risk(self, risk: Risk) -> int:
        """How many of the tools are of a risk."""
        return sum(tool.risk is risk for tool in self.tools)


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a token would reach. ``stopped``: why its identity reaches nothing at all."""

    content: DraftContent
    stopped: str | None
    servers: tuple[ChosenServer, ...]

    @property
    def needing(self) -> list[DraftServer]:
        """The servers that a grant has to be made for."""
        return [one.chosen for one in self.servers if one.needs_grant]

    @property
    def mark(self) -> str:
        """Of the token and the grants that it needs: whoever confirms these has confirmed no others."""
        needing = [one.model_dump(mode="json") for one in self.needing]
        shown = json.dumps([self.content.model_dump(mode="json"), needing], sort_keys=True)
        return hashlib.sha256(shown.encode()).hexdigest()[:16]


async def prospect_of(session: AsyncSession, reader: AccessReader, content: DraftContent) -> Prospect:
    """What comes of a draft if it is issued now. Raises ``NotFound`` and ``Unavailable``."""
    if content.identity_id is None or not content.servers:
        return Prospect(content, None, ())
    found: dict[UUID, OfferedServer] = {}
    wanted, after = [one.server_id for one in content.servers], ""
    while True:
        offers = await offers_to(
            session, reader, content.identity_id,
            grantable=True, server_ids=wanted, after=after, limit=MOST_SERVERS,
        )  # fmt: skip
        found.update((one.id, one) for one in offers.servers)
        if offers.following is None:
            break
        after = offers.following
    chosen = tuple(_chosen(one, found.get(one.server_id)) for one in content.servers)
    return Prospect(content, offers.stopped, chosen)


def _chosen(chosen: DraftServer, offer: OfferedServer | None) -> ChosenServer:
    if offer is None:
        return ChosenServer(chosen, None, (), needs_grant=False)
    picked = [tool for tool in offer.tools if _is_of(chosen, tool)]
    tools = tuple(tool for tool in picked if tool.is_granted or chosen.grant)
    lacking = not offer.is_granted or not all(tool.is_granted for tool in picked)
    if chosen.mode == "all":
        lacking = lacking or not offer.is_whole
    return ChosenServer(chosen, offer.slug, tools, needs_grant=chosen.grant and lacking)


def _is_of(chosen: DraftServer, tool: OfferedTool) -> bool:
    if chosen.mode == "read":
        return tool.risk is Risk.READ
    return chosen.mode == "all" or tool.name in chosen.names


def grants_for(content: DraftContent, needing: list[DraftServer]) -> list[GrantCreate]:
    """The grants that give the identity what it lacks, until the token ends and because of it."""
    if content.identity_id is None:
        return []
    return [
        GrantCreate(
            principal=IdentityPrincipal(type="identity", id=content.identity_id),
            servers=ServersByIdsModel(kind="ids", ids=ids),
            tools=tools,
            expires_at=content.expires_at,
            reason=content.name,
        )
        for ids, tools in alike(needing)
    ]


async def issue_draft(
    session: AsyncSession,
    runtime: Runtime,
    reader: AccessReader,
    caller: Caller,
    draft: TokenDraft,
    content: DraftContent,
    confirmed: str,
    request_id: str | None,
) -> Issued:
    """Make the grants that a held draft needs, ``confirmed`` by their mark, and issue its token: all of it or nothing.

    Raises ``Conflict`` for one that was issued, is another one than was confirmed, or needs other grants;
    ``Forbidden`` where grants are needed and the caller makes none; and what making grants and issuing raise.
    """
    if draft.token_id is not None:
        raise Conflict(
            "This token was issued already; its secret was shown once.", code="draft_already_issued"
        )
    body = content.token()
    prospect = await prospect_of(session, reader, content)
    if prospect.mark != confirmed:
        raise Conflict(
            "The token, or what has been granted, changed since this was shown: look at the summary again.",
            code="draft_changed",
        )
    if prospect.needing:
        authorize(caller, Permission.GRANTS_WRITE)
    change = Change(session, caller, request_id, runtime.clock())
    for grant in grants_for(content, prospect.needing):
        await create_grant(change, grant)
    # The events of the grants are before that of the token.
    await write(session)
    issued = await issue_token(session, runtime, caller, body, request_id)
    draft.token_id = issued.token.id
    draft.revision += 1
    await session.flush()
    return issued
