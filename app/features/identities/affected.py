"""What one offboarding touches: found, and locked unless somebody only asks what would end.

Locks are taken in the one order: turns, identities, grants, tokens, each by id. Whoever issues a token, makes a grant,
adds to a group, or creates or hands over an agent holds the identity FOR SHARE, so it is either finished before the
locks are ours and found here, or waits for us and then sees an identity that is not active.
"""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import Invalid, NotFound
from app.features.approvals.queries import open_approvals
from app.features.identities import offboard_queries as queries
from app.features.identities.offboard_schemas import OffboardedThings, TransferredAgents
from app.features.identities.queries import take_turns
from app.features.identities.receipt_schemas import EndedToken, ReceiptAgents
from app.features.tokens import queries as repository
from app.lib.ids import GRANT, GROUP, IDENTITY, SERVICE_ACCOUNT, format_id
from app.models.administrators import Administrator
from app.models.approvals import Approval
from app.models.identities import Identity
from app.models.tokens import Token


@dataclass(slots=True)
class Affected:
    """Everything that one offboarding touches."""

    identity: Identity
    heir: UUID | None
    agents: list[Identity]
    lost_heir: UUID | None = None
    """Who should have had the agents, and is not active any more or may not have them."""
    grants: list[UUID] = field(default_factory=list)
    tokens: list[UUID] = field(default_factory=list)
    holders: dict[UUID, UUID] = field(default_factory=dict)
    """Whose these tokens are, by their ids."""
    memberships: dict[UUID, UUID] = field(default_factory=dict)
    """The groups, by the id of the membership in each."""
    approvals: list[UUID] = field(default_factory=list)
    service_accounts: list[UUID] = field(default_factory=list)
    administrator: Administrator | None = None
    in_flight: int = 0

    @property
    def suspended(self) -> list[Identity]:
        """Agents that go on to nobody and were active until now."""
        return [] if self.heir else [agent for agent in self.agents if agent.status == "active"]

    @property
    def ending(self) -> list[UUID]:
        """Whose tokens end: its own, and its agents' unless they are handed over."""
        return [self.identity.id] if self.heir else [self.identity.id, *(agent.id for agent in self.agents)]

    def things(self) -> OffboardedThings:
        """What ends, as the answer says it."""
        return OffboardedThings(
            tokens=self.tokens,
            agents=[agent.id for agent in self.suspended],
            approvals=len(self.approvals),
            in_flight=self.in_flight,
            administrator=self.administrator is not None,
        )

    def transferred(self) -> TransferredAgents:
        """What goes to somebody else, as the answer says it."""
        agents = [agent.id for agent in self.agents] if self.heir else []
        return TransferredAgents(to=self.heir, agents=agents)

    def changes(self) -> dict[str, Any]:
        """What the event says: ids and counts alone. The reason, which people word, is beside the receipt."""
        transferred = self.transferred().model_dump(mode="json")
        if self.lost_heir is not None:
            transferred["heir_not_active"] = format_id(IDENTITY, self.lost_heir)
        return {
            "status": {"from": self.identity.status, "to": "offboarded"},
            "revoked": self.things().model_dump(mode="json"),
            "transferred": transferred,
            "grants": [format_id(GRANT, id) for id in self.grants],
            "groups": [format_id(GROUP, id) for id in self.memberships.values()],
            "service_accounts": [format_id(SERVICE_ACCOUNT, id) for id in self.service_accounts],
        }

    def receipt(self) -> dict[str, Any]:
        """The part of the receipt that says what ended, by the names of its fields."""
        transferred = self.transferred()
        return {
            "identity_id": self.identity.id,
            "kind": self.identity.kind,
            "tokens": [EndedToken(id=id, identity_id=self.holders[id]) for id in self.tokens],
            "agents": ReceiptAgents(
                suspended=[agent.id for agent in self.suspended],
                transferred=transferred.agents,
                transferred_to=transferred.to,
                heir_not_active=self.lost_heir,
            ),
            "approvals": self.approvals,
            "grants": self.grants,
            "groups": list(self.memberships.values()),
            "service_accounts": self.service_accounts,
            "administrator_id": None if self.administrator is None else self.administrator.id,
            "in_flight": self.in_flight,
        }


async def find_people(
    session: AsyncSession, id: UUID, heir: UUID | None, *, heir_may_be_lost: bool = False, lock: bool
) -> Affected:
    """The identity, its agents and who shall have them, as they are once the locks are held.

    Raises ``NotFound``, and ``Invalid`` for an heir who is not another active person, unless that may be so: then
    there is no heir.
    """
    if lock:
        # Of the agents too: whoever issues for one shares the turn of its owner.
        await take_turns(session, {id, heir} if heir else {id})
    held: dict[UUID, Identity] = {}
    while True:
        wanted = {id, *await queries.agents_of(session, id)} | ({heir} if heir else set())
        if wanted <= held.keys():
            break
        read = repository.lock_identities if lock else repository.read_identities
        read_now = await read(session, wanted)
        # An id that is nobody's would be asked for again and again.
        if id not in read_now:
            raise NotFound("There is no such identity.")
        if heir and heir not in read_now:
            raise Invalid.field("/transfer_agents_to", "not_found", "There is no such identity.")
        held |= read_now
    lost = None
    if heir is not None and held[id].status != "offboarded" and not _can_inherit(held[heir], id):
        if not heir_may_be_lost:
            raise Invalid.field(
                "/transfer_agents_to",
                "not_an_active_person",
                "Agents can go to another person who is active.",
            )
        heir, lost = None, heir
    agents = [one for one in held.values() if one.owner_id == id and one.status != "offboarded"]
    return Affected(held[id], heir, sorted(agents, key=lambda agent: agent.id), lost)


def _can_inherit(heir: Identity, leaver: UUID) -> bool:
    return heir.id != leaver and heir.kind == "person" and heir.status == "active"


async def gather(session: AsyncSession, affected: Affected, *, lock: bool) -> None:
    """Find what else ends. Tokens of agents that are handed over live on, unless attenuated from one that ends."""
    id, ending = affected.identity.id, affected.ending
    affected.grants = await queries.open_grants(session, id, lock=lock)
    family = repository.lock_living_family if lock else repository.living_family
    affected.tokens = await family(session, [repository.among(col(Token.identity_id), ending)])
    affected.holders = await repository.holders_of(session, affected.tokens)
    affected.memberships = await queries.memberships(session, id)
    asked_by = repository.among(col(Approval.identity_id), ending)
    asked_with = repository.among(col(Approval.token_id), affected.tokens)
    affected.approvals = await open_approvals(session, asked_by, asked_with, lock=lock)
    affected.service_accounts = await queries.owned_accounts(session, ending, lock=lock)
    affected.administrator = await queries.active_administrator(session, id, lock=lock)
    affected.in_flight = await repository.count_in_flight(session, affected.tokens)
