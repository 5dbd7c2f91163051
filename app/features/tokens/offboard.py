"""Offboarding: everything that an identity could do ends, in one transaction, with a receipt.

Locks are taken in the one order: identities, grants, tokens, each by id. Whoever issues a token, makes a grant,
adds to a group, or creates or hands over an agent holds the identity FOR SHARE, so it is either finished before the
locks are ours and found here, or waits for us and then sees an identity that is not active.
"""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import Conflict, Invalid, NotFound
from app.features.administrators.models import Administrator
from app.features.approvals.cancel import cancel_approvals
from app.features.approvals.models import Approval
from app.features.approvals.repository import open_approvals
from app.features.audit.record import close_versions, record
from app.features.identities.history import keep_identity
from app.features.identities.models import Identity, OffboardingReceipt
from app.features.identities.repository import end_browser_sessions
from app.features.tokens import offboard_queries as queries
from app.features.tokens import repository
from app.features.tokens.models import Token
from app.features.tokens.offboard_schemas import Offboard, OffboardedThings
from app.features.tokens.revoke import end_tokens
from app.kit.authorization import Caller
from app.kit.etags import Precondition
from app.kit.ids import GRANT, GROUP, IDENTITY, SERVICE_ACCOUNT, format_id
from app.kit.versions import move_versions


@dataclass(slots=True)
class Affected:
    """Everything that one offboarding touches."""

    identity: Identity
    heir: UUID | None
    agents: list[Identity]
    grants: list[UUID] = field(default_factory=list)
    tokens: list[UUID] = field(default_factory=list)
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

    def things(self) -> OffboardedThings:
        """As the answer and the receipt say it."""
        return OffboardedThings(
            tokens=self.tokens,
            agents=[agent.id for agent in self.suspended],
            approvals=len(self.approvals),
            in_flight=self.in_flight,
            administrator=self.administrator is not None,
        )


@dataclass(frozen=True, slots=True)
class Offboarded:
    """The outcome. ``receipt_id`` is None for a dry run that would change something."""

    identity_id: UUID
    changed: bool
    things: OffboardedThings
    receipt_id: UUID | None


async def offboard_identity(
    session: AsyncSession,
    caller: Caller,
    identity_id: UUID,
    body: Offboard,
    if_match: Precondition,
    *,
    dry_run: bool,
    request_id: str | None,
) -> Offboarded:
    """End an identity. Under ``dry_run`` the same checks and the same answer, and nothing is locked or changed.

    Raises ``NotFound``, ``PreconditionFailed``, and ``Invalid`` when the agents cannot go to whom they should.
    """
    affected = await _lock_people(session, identity_id, body.transfer_agents_to, lock=not dry_run)
    identity = affected.identity
    if_match.check(identity.revision)
    if identity.status == "offboarded":
        return await _first_receipt(session, identity)
    await _gather(session, affected, lock=not dry_run)
    if dry_run:
        return Offboarded(identity.id, True, affected.things(), None)
    # Said before the agents change, since it names those that are still active.
    things, changes = affected.things(), _changes(affected)
    await cancel_approvals(session, caller, affected.approvals, "identity_offboarded", request_id)
    await end_tokens(session, caller, affected.tokens, body.reason, request_id)
    await _end_rights(session, affected)
    await _end_people(session, caller, affected, request_id)
    receipt_id = await record(
        session, caller, "identity.offboard", "identity", identity.id,
        changes=changes, request_id=request_id,
    )  # fmt: skip
    identity.receipt_id = receipt_id
    kept = {"reason": body.reason, "revoked": affected.things().model_dump(mode="json")}
    session.add(OffboardingReceipt(id=receipt_id, identity_id=identity.id, body=kept))
    await session.flush()
    people = [identity.id, *(agent.id for agent in affected.agents)]
    await move_versions(session, [*people, *affected.grants, *affected.tokens], narrows=True)
    return Offboarded(identity.id, True, things, receipt_id)


async def find_to_offboard(session: AsyncSession, *, external_id: str | None, user_name: str | None) -> UUID:
    """The identity that a name outside means: the one not yet offboarded, else the latest.

    Raises ``Invalid`` unless exactly one of both is given, ``NotFound``, and ``Conflict`` when two providers know
    somebody by it.
    """
    if (external_id is None) == (user_name is None):
        raise Invalid.field("?external_id", "one_of", "Give external_id or user_name, exactly one of them.")
    found = await queries.named(session, external_id=external_id, user_name=user_name)
    living = [row.id for row in found if row.status != "offboarded"]
    if len(living) > 1:
        raise Conflict(
            "Several identities of different providers have this name: offboard each by its id.",
            code="ambiguous_identity",
        )
    if not found:
        raise NotFound("There is no such identity.")
    return living[0] if living else found[0].id


async def _lock_people(session: AsyncSession, id: UUID, heir: UUID | None, *, lock: bool) -> Affected:
    """The identity, its agents and who shall have them, as they are once the locks are held."""
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
    if heir is not None and held[id].status != "offboarded":
        _check_heir(held[heir], id)
    agents = [one for one in held.values() if one.owner_id == id and one.status != "offboarded"]
    return Affected(held[id], heir, sorted(agents, key=lambda agent: agent.id))


def _check_heir(heir: Identity, leaver: UUID) -> None:
    if heir.id == leaver or heir.kind != "person" or heir.status != "active":
        raise Invalid.field(
            "/transfer_agents_to", "not_an_active_person", "Agents can go to another person who is active."
        )


async def _first_receipt(session: AsyncSession, identity: Identity) -> Offboarded:
    receipt = None
    if identity.receipt_id is not None:
        receipt = await session.get(OffboardingReceipt, identity.receipt_id)
    if receipt is None:
        nothing = OffboardedThings(tokens=[], agents=[], approvals=0, in_flight=0, administrator=False)
        return Offboarded(identity.id, False, nothing, None)
    return Offboarded(identity.id, False, OffboardedThings.from_receipt(receipt.body), receipt.id)


async def _gather(session: AsyncSession, affected: Affected, *, lock: bool) -> None:
    """Find what else ends. Tokens of agents that are handed over live on, unless attenuated from one that ends."""
    id = affected.identity.id
    ending = [id] if affected.heir else [id, *(agent.id for agent in affected.agents)]
    affected.grants = await queries.open_grants(session, id, lock=lock)
    family = repository.lock_living_family if lock else repository.living_family
    affected.tokens = await family(session, [col(Token.identity_id).in_(ending)])
    affected.memberships = await queries.memberships(session, id)
    asked_by = repository.among(col(Approval.identity_id), ending)
    asked_with = repository.among(col(Approval.token_id), affected.tokens)
    affected.approvals = await open_approvals(session, asked_by, asked_with, lock=lock)
    affected.service_accounts = await queries.owned_accounts(session, ending, lock=lock)
    affected.administrator = await queries.active_administrator(session, id, lock=lock)
    affected.in_flight = await repository.count_in_flight(session, affected.tokens)


async def _end_rights(session: AsyncSession, affected: Affected) -> None:
    """Grants to the person and their memberships end too, so that reinstating brings nothing back by itself."""
    await queries.end_grants(session, affected.grants)
    await queries.end_memberships(session, affected.memberships)
    await close_versions(session, [*affected.grants, *affected.memberships])


async def _end_people(
    session: AsyncSession, caller: Caller, affected: Affected, request_id: str | None
) -> None:
    suspended = affected.suspended
    moving = affected.agents if affected.heir else suspended
    for agent in moving:
        before = {"owner_id": format_id(IDENTITY, affected.identity.id), "status": agent.status}
        if affected.heir is not None:
            action, name, after = "identity.update", "owner_id", format_id(IDENTITY, affected.heir)
            agent.owner_id = affected.heir
        else:
            action, name, after = "identity.suspend", "status", "suspended"
            agent.status = after
            agent.suspended_with_owner = True
        agent.revision += 1
        changes = {name: {"from": before[name], "to": after}}
        await record(session, caller, action, "identity", agent.id, changes=changes, request_id=request_id)
    if affected.administrator is not None:
        affected.administrator.status = "disabled"
        affected.administrator.revision += 1
    await queries.flag_accounts(session, affected.service_accounts)
    identity = affected.identity
    await end_browser_sessions(session, identity.id)
    identity.status = "offboarded"
    identity.offboarded_at = func.now()  # type: ignore[assignment]
    identity.revision += 1
    await session.flush()
    for one in (*moving, identity):
        await keep_identity(session, one)


def _changes(affected: Affected) -> dict[str, Any]:
    """What the event says: ids and counts alone. The reason, which people word, is in the receipt."""
    agents = [format_id(IDENTITY, agent.id) for agent in affected.agents]
    heir = None if affected.heir is None else format_id(IDENTITY, affected.heir)
    return {
        "status": {"from": affected.identity.status, "to": "offboarded"},
        "revoked": affected.things().model_dump(mode="json"),
        "transferred": {"to": heir, "agents": agents if heir else []},
        "grants": [format_id(GRANT, id) for id in affected.grants],
        "groups": [format_id(GROUP, id) for id in affected.memberships.values()],
        "service_accounts": [format_id(SERVICE_ACCOUNT, id) for id in affected.service_accounts],
    }
