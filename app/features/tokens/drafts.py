"""Token drafts of the console: selections are stored, so that searches and going back keep them.

A draft belongs only to its creator, is deleted after a day, and holds no secret. It gives no access either: the token
is issued by the same services as through the API, which check everything again. Also computes what the token would
reach, and which grants it needs, and issues it with them.
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
from app.features.tokens.service import IssuedToken, issue_token
from app.http.authorization import Caller, Permission, authorize
from app.http.runtime import Runtime
from app.http.schemas import ShortText, Strict, Time
from app.http.selectors import (
    MAX_ITEMS,
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
MAX_SERVERS = 90
"""Each needs at most one entry of a scope, which has up to a hundred."""
_MAX_DRAFTS = 20
_FORGOTTEN_AT_ONCE = 500


class DraftServer(Strict):
    """The selected tools of one server: those that only read, all, or named ones.

    ``grant``: create a grant for what the identity lacks.
    """

    server_id: ServerId
    mode: Literal["read", "all", "names"]
    names: list[ToolName] = Field(default_factory=list, max_length=MAX_ITEMS)
    grant: bool = False

    def tools(self) -> ToolSelectorModel:
        """The selector for a scope or a grant."""
        if self.mode == "names":
            return ToolsByNamesModel(kind="names", names=self.names)
        if self.mode == "read":
            return ToolsByRiskModel.model_validate({"kind": "risk", "risk": ["read"]})
        return AllToolsModel(kind="all")


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
        return next((one for one in self.servers if one.server_id == server_id), None)

    def with_server(self, chosen: DraftServer) -> "DraftContent":
        """Replace the selection for a server. Raises ``Invalid`` when there are too many."""
        others = [one for one in self.servers if one.server_id != chosen.server_id]
        if len(others) >= MAX_SERVERS:
            raise Invalid.field(
                "/servers", "too_many", f"A token draft can have at most {MAX_SERVERS} servers."
            )
        return self.model_copy(update={"servers": [*others, chosen]})

    def without_server(self, server_id: UUID) -> "DraftContent":
        """Remove the selection for a server."""
        return self.model_copy(
            update={"servers": [one for one in self.servers if one.server_id != server_id]}
        )

    def scope(self) -> ListedScopeModel:
        """The scope; servers with the same kind of selection share an entry."""
        entries = [
            ScopeEntryModel(servers=ServersByIdsModel(kind="ids", ids=ids), tools=tools)
            for ids, tools in group_servers(self.servers)
        ]
        return ListedScopeModel(kind="listed", entries=entries)

    def order(self) -> dict[str, Any]:
        """The input for ``TokenCreate``, possibly incomplete."""
        return {
            "identity_id": self.identity_id,
            "name": self.name,
            "scope": self.scope(),
            "expires_at": self.expires_at,
            "ip_allow": self.ip_allow,
            "delivery": self.delivery,
        }

    def token(self) -> TokenCreate:
        """The token to issue. Raises ``Invalid`` if the draft is incomplete."""
        if self.identity_id is None or not self.name or not self.servers or self.expires_at is None:
            raise Invalid("The draft is not complete: go through the steps.")
        return TokenCreate(**self.order())


def group_servers(servers: list[DraftServer]) -> list[tuple[list[UUID], ToolSelectorModel]]:
    """Group servers with all tools or all reading tools selected; each of the others is a group of its own."""
    groups: dict[Any, list[DraftServer]] = {}
    for one in servers:
        groups.setdefault(one.server_id if one.mode == "names" else one.mode, []).append(one)
    return [([one.server_id for one in group], group[0].tools()) for group in groups.values()]


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

    def of_risk(self, risk: Risk) -> int:
        """The number of tools with a risk."""
        return sum(tool.risk is risk for tool in self.tools)


@dataclass(frozen=True, slots=True)
class Prospect:
    """The reach of a draft's token. ``stopped``: why its identity reaches nothing at all."""

    content: DraftContent
    stopped: str | None
    servers: tuple[ChosenServer, ...]

    @property
    def needing(self) -> list[DraftServer]:
        """The servers that need a new grant."""
        return [one.chosen for one in self.servers if one.needs_grant]

    @property
    def mark(self) -> str:
        """A digest of the token and of the grants that it needs, so that a confirmation covers no others."""
        needing = [one.model_dump(mode="json") for one in self.needing]
        content = json.dumps([self.content.model_dump(mode="json"), needing], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


async def prospect_of(session: AsyncSession, reader: AccessReader, content: DraftContent) -> Prospect:
    """Compute the result of issuing a draft now. Raises ``NotFound`` and ``Unavailable``."""
    if content.identity_id is None or not content.servers:
        return Prospect(content, None, ())
    by_server: dict[UUID, OfferedServer] = {}
    server_ids, after = [one.server_id for one in content.servers], ""
    while True:
        offers = await offers_to(
            session, reader, content.identity_id,
            grantable=True, server_ids=server_ids, after=after, limit=MAX_SERVERS,
        )  # fmt: skip
        by_server.update((one.id, one) for one in offers.servers)
        if offers.following is None:
            break
        after = offers.following
    chosen = tuple(_choose(one, by_server.get(one.server_id)) for one in content.servers)
    return Prospect(content, offers.stop_reason, chosen)


def _choose(chosen: DraftServer, offer: OfferedServer | None) -> ChosenServer:
    if offer is None:
        return ChosenServer(chosen, None, (), needs_grant=False)
    picked = [tool for tool in offer.tools if _is_selected(chosen, tool)]
    tools = tuple(tool for tool in picked if tool.is_granted or chosen.grant)
    lacking = not offer.is_granted or not all(tool.is_granted for tool in picked)
    if chosen.mode == "all":
        lacking = lacking or not offer.is_whole
    return ChosenServer(chosen, offer.slug, tools, needs_grant=chosen.grant and lacking)


def _is_selected(chosen: DraftServer, tool: OfferedTool) -> bool:
    if chosen.mode == "read":
        return tool.risk is Risk.READ
    return chosen.mode == "all" or tool.name in chosen.names


def grants_for(content: DraftContent, needing: list[DraftServer]) -> list[GrantCreate]:
    """The grants that the identity lacks, which expire with the token."""
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
        for ids, tools in group_servers(needing)
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
) -> IssuedToken:
    """Create the grants that a locked draft needs, ``confirmed`` by their digest, and issue its token, in one
    transaction.

    Raises ``Conflict`` for a draft that was issued, differs from the confirmed one, or needs other grants;
    ``Forbidden`` when grants are needed and the caller may not create them; and what creating grants and issuing raise.
    """
    if draft.token_id is not None:
        raise Conflict(
            "This token is already issued; its secret was shown once.", code="draft_already_issued"
        )
    body = content.token()
    prospect = await prospect_of(session, reader, content)
    if prospect.mark != confirmed:
        raise Conflict(
            "The token or the grants changed since this was shown: review the summary again.",
            code="draft_changed",
        )
    if prospect.needing:
        authorize(caller, Permission.GRANTS_WRITE)
    change = Change(session, caller, request_id, runtime.clock())
    for grant in grants_for(content, prospect.needing):
        await create_grant(change, grant)
    # The events of the grants come before that of the token.
    await write(session)
    issued = await issue_token(session, runtime, caller, body, request_id)
    draft.token_id = issued.token.id
    draft.revision += 1
    await session.flush()
    return issued
