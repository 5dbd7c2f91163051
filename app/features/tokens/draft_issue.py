"""What a token that is being put together would reach, which grants it needs for that, and issuing it with them."""

import hashlib
import json
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.point_in_time import AccessReader
from app.domain.errors import Conflict
from app.domain.risk import Risk
from app.features.grants.schemas import GrantCreate, IdentityPrincipal
from app.features.grants.service import create_grant
from app.features.tokens.draft_choices import OfferedServer, OfferedTool, offers_to
from app.features.tokens.drafts import MOST_SERVERS, DraftContent, DraftServer, alike
from app.features.tokens.issue import Issued, issue_token
from app.http.authorization import Caller, Permission, authorize
from app.http.runtime import Runtime
from app.http.selectors import ServersByIdsModel
from app.models.tokens import TokenDraft


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
    for grant in grants_for(content, prospect.needing):
        await create_grant(session, caller, grant, runtime.clock(), request_id)
    issued = await issue_token(session, runtime, caller, body, request_id)
    draft.token_id = issued.token.id
    draft.revision += 1
    await session.flush()
    return issued
