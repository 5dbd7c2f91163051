"""Offboarding: everything that an identity could do ends, in one transaction, with a receipt.

What an offboarding looks up and ends in the features below.

What one offboarding touches: found, and locked unless somebody only asks what would end.

Locks are taken in the one order: turns, identities, grants, tokens, each by id. Whoever issues a token, makes a grant,
adds to a group, or creates or hands over an agent holds the identity FOR SHARE, so it is either finished before the
locks are ours and found here, or waits for us and then sees an identity that is not active.

What an offboarding would end beside tokens and agents, told by its dry run.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.signing import Signer
from app.db.outbox import tell
from app.db.versions import move_versions
from app.db.webhook_events import WebhookEvent, administrator_message, grant_message, identity_message
from app.domain.errors import Conflict, Forbidden, Invalid, NotFound
from app.features.approvals.decide import cancel_approvals
from app.features.approvals.queries import open_approvals
from app.features.audit.queries import count_calls
from app.features.audit.record import close_versions, record
from app.features.identities.queries import end_browser_sessions, keep_identity, take_turns
from app.features.identities.read_by_policies import check_may_transfer
from app.features.identities.receipts import add_receipt, named
from app.features.identities.schedule_queries import lock_pending, settle
from app.features.identities.schemas import (
    MOST_CALLS,
    EndedToken,
    Offboard,
    OffboardedThings,
    OffboardedVia,
    OffboardPreview,
    Receipt,
    ReceiptAgents,
    ReceiptSchedule,
    TransferredAgents,
    asked_by,
)
from app.features.identities.standing import check_may_end, roles_behind
from app.features.invitations.queries import end_invitations
from app.features.tokens import queries as token_queries
from app.features.tokens.queries import among, end_pickups_of
from app.features.tokens.service import end_tokens
from app.http.authorization import MANAGING_ROLES, Caller
from app.http.etags import Precondition
from app.lib.ids import GRANT, GROUP, IDENTITY, SCHEDULED_OFFBOARDING, SERVICE_ACCOUNT, format_id
from app.models.administrators import Administrator
from app.models.approvals import Approval
from app.models.grants import Grant
from app.models.groups import GroupMember
from app.models.identities import Identity, OffboardingReceipt
from app.models.service_accounts import ServiceAccount
from app.models.tokens import ScheduledOffboarding, Token

_QUIET = {"synchronize_session": False}


async def find_leaver(
    session: AsyncSession, *, external_id: str | None, user_name: str | None
) -> Sequence[Identity]:
    """Identities with this external id, or this user name whatever its case; newest first."""
    query = select(Identity).order_by(col(Identity.id).desc())
    if external_id is not None:
        query = query.where(col(Identity.external_id) == external_id)
    if user_name is not None:
        query = query.where(func.lower(col(Identity.user_name)) == func.lower(user_name))
    return (await session.scalars(query)).all()


async def agents_of(session: AsyncSession, owner_id: UUID) -> list[UUID]:
    """Agents of this person that are not offboarded."""
    query = select(col(Identity.id)).where(
        col(Identity.owner_id) == owner_id, col(Identity.status) != "offboarded"
    )
    return list(await session.scalars(query))


async def open_grants(session: AsyncSession, identity_id: UUID, *, lock: bool) -> list[UUID]:
    """Grants made to the identity itself that have not ended."""
    query = select(col(Grant.id)).where(col(Grant.identity_id) == identity_id, col(Grant.ended_at).is_(None))
    return await _ids(session, query.order_by(col(Grant.id)), lock=lock)


async def end_grants(session: AsyncSession, ids: Collection[UUID]) -> None:
    """End these grants now."""
    values: dict[str, Any] = {"ended_at": func.now(), "revision": col(Grant.revision) + 1}
    await session.execute(
        update(Grant).where(among(col(Grant.id), ids)).values(values).execution_options(**_QUIET)
    )


async def memberships(session: AsyncSession, identity_id: UUID) -> dict[UUID, UUID]:
    """The groups of the identity, by the id of its membership in each."""
    query = select(GroupMember).where(col(GroupMember.identity_id) == identity_id)
    return {row.id: row.group_id for row in await session.scalars(query)}


async def end_memberships(session: AsyncSession, ids: Collection[UUID]) -> None:
    """Take these memberships out; their past stays in the history."""
    await session.execute(
        delete(GroupMember).where(among(col(GroupMember.id), ids)).execution_options(**_QUIET)
    )


async def owned_accounts(session: AsyncSession, owner_ids: Collection[UUID], *, lock: bool) -> list[UUID]:
    """Service accounts that these identities answer for and that are not flagged yet."""
    query = select(col(ServiceAccount.id)).where(
        among(col(ServiceAccount.owner_id), owner_ids),
        col(ServiceAccount.ended_at).is_(None),
        col(ServiceAccount.owner_offboarded).is_(False),
    )
    return await _ids(session, query.order_by(col(ServiceAccount.id)), lock=lock)


async def flag_accounts(session: AsyncSession, ids: Collection[UUID]) -> None:
    """Say of these service accounts that whoever answered for them is gone."""
    values: dict[str, Any] = {"owner_offboarded": True, "revision": col(ServiceAccount.revision) + 1}
    await session.execute(
        update(ServiceAccount)
        .where(among(col(ServiceAccount.id), ids))
        .values(values)
        .execution_options(**_QUIET)
    )


async def active_administrator(
    session: AsyncSession, identity_id: UUID, *, lock: bool
) -> Administrator | None:
    """The identity's administrator record, unless it is disabled already."""
    query = select(Administrator).where(
        col(Administrator.identity_id) == identity_id, col(Administrator.status) == "active"
    )
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return await session.scalar(query)


async def _ids(session: AsyncSession, query: Select[UUID], *, lock: bool) -> list[UUID]:
    return list(await session.scalars(query.with_for_update() if lock else query))


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
        wanted = {id, *await agents_of(session, id)} | ({heir} if heir else set())
        if wanted <= held.keys():
            break
        read = token_queries.lock_identities if lock else token_queries.read_identities
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
    affected.grants = await open_grants(session, id, lock=lock)
    family = token_queries.lock_living_family if lock else token_queries.living_family
    affected.tokens = await family(session, [token_queries.among(col(Token.identity_id), ending)])
    affected.holders = await token_queries.holders_of(session, affected.tokens)
    affected.memberships = await memberships(session, id)
    asked_by = token_queries.among(col(Approval.identity_id), ending)
    asked_with = token_queries.among(col(Approval.token_id), affected.tokens)
    affected.approvals = await open_approvals(session, asked_by, asked_with, lock=lock)
    affected.service_accounts = await owned_accounts(session, ending, lock=lock)
    affected.administrator = await active_administrator(session, id, lock=lock)
    affected.in_flight = await token_queries.count_in_flight(session, affected.tokens)


_OF_LATE = timedelta(days=1)


async def preview_of(session: AsyncSession, affected: Affected) -> OffboardPreview:
    """What would end, once it is gathered, and how much it was used."""
    return OffboardPreview(
        grants=affected.grants,
        groups=list(affected.memberships.values()),
        service_accounts=affected.service_accounts,
        calls_last_day=await count_calls(session, affected.ending, _OF_LATE, MOST_CALLS),
    )


@dataclass(frozen=True, slots=True)
class Offboarded:
    """The outcome. ``receipt_id`` is None for a dry run that would change something, and for what is only
    ``scheduled``."""

    identity_id: UUID
    changed: bool
    things: OffboardedThings
    transferred: TransferredAgents
    receipt_id: UUID | None = None
    scheduled: ScheduledOffboarding | None = None
    preview: OffboardPreview | None = None


async def offboard_identity(
    session: AsyncSession,
    caller: Caller,
    identity_id: UUID,
    body: Offboard,
    if_match: Precondition,
    *,
    signer: Signer,
    via: OffboardedVia = "api",
    on_word_of: Caller | None = None,
    dry_run: bool,
    request_id: str | None,
) -> Offboarded:
    """End an identity now. Under ``dry_run`` the same checks and the same answer, and nothing is locked or changed.

    What was set for later is done with it. ``via`` says who asked; for what came due, an heir who may not have the
    agents by then is no reason not to. ``on_word_of`` is whose role decides, where it is not the caller's. A directory
    ends whom it keeps, whatever their role, and administrators are notified. Raises ``NotFound``,
    ``PreconditionFailed``, ``Forbidden``, ``Conflict`` for the last active owner, and ``Invalid`` when the agents
    cannot go to whom they should.
    """
    due = via == "schedule"
    affected = await find_people(
        session, identity_id, body.transfer_agents_to, heir_may_be_lost=due, lock=not dry_run
    )
    identity = affected.identity
    if_match.check(identity.revision)
    # Whoever else holds it waits for the identity, and settles it then.
    pending = None if dry_run else await lock_pending(session, identity_id, wait=False)
    if identity.status == "offboarded":
        return await first_receipt(session, identity, pending)
    by_directory = via in {"scim", "signal"}
    if not by_directory:
        await check_may_end(session, on_word_of or caller, identity)
        if affected.heir is not None and affected.agents:
            try:
                await check_may_transfer(session, on_word_of or caller, affected.heir)
            except Forbidden:
                if not due:
                    raise
                # The leaver ends all the same.
                affected.heir, affected.lost_heir = None, affected.heir
    roles = await roles_behind(session, identity.id) if by_directory else frozenset()
    await gather(session, affected, lock=not dry_run)
    # Said before the agents change, since it names those that are still active.
    things, transferred = affected.things(), affected.transferred()
    if dry_run:
        preview = await preview_of(session, affected)
        return Offboarded(identity.id, True, things, transferred, preview=preview)
    schedule = _came_due(pending) if due else None
    changes = affected.changes() | {"via": via} | _said_of(schedule)
    said = affected.receipt() | {
        "via": via,
        "by": named(caller),
        "schedule": schedule,
        "request_id": request_id,
    }
    await cancel_approvals(session, caller, affected.approvals, "identity_offboarded", request_id)
    await end_tokens(session, caller, affected.tokens, body.reason, request_id)
    await _end_rights(session, affected)
    said["browser_sessions"] = await _end_people(session, caller, affected, request_id)
    receipt_id = await record(
        session, caller, "identity.offboard", "identity", identity.id,
        changes=changes, request_id=request_id,
    )  # fmt: skip
    identity.receipt_id = receipt_id
    await session.flush()
    await session.refresh(identity)
    receipt = Receipt.model_validate(said | {"offboarded_at": identity.offboarded_at})
    revoked = things.model_dump(mode="json")
    add_receipt(session, signer, receipt_id, receipt, reason=body.reason, revoked=revoked)
    await settle(session, pending, receipt_id)
    people = [identity.id, *(agent.id for agent in affected.agents)]
    await move_versions(session, [*people, *affected.grants, *affected.tokens], narrows=True)
    await _tell(session, affected, receipt_id)
    if not roles.isdisjoint(MANAGING_ROLES):
        await tell(session, administrator_message(identity.id, receipt_id))
    return Offboarded(identity.id, True, things, transferred, receipt_id)


async def find_to_offboard(session: AsyncSession, *, external_id: str | None, user_name: str | None) -> UUID:
    """The identity that a name outside means: the one not yet offboarded, else the latest.

    Raises ``Invalid`` unless exactly one of both is given, ``NotFound``, and ``Conflict`` when two providers know
    somebody by it.
    """
    if (external_id is None) == (user_name is None):
        raise Invalid.field("?external_id", "one_of", "Give external_id or user_name, exactly one of them.")
    found = await find_leaver(session, external_id=external_id, user_name=user_name)
    living = [row.id for row in found if row.status != "offboarded"]
    if len(living) > 1:
        raise Conflict(
            "Several identities of different providers have this name: offboard each by its id.",
            code="ambiguous_identity",
        )
    if not found:
        raise NotFound("There is no such identity.")
    return living[0] if living else found[0].id


async def first_receipt(
    session: AsyncSession, identity: Identity, pending: ScheduledOffboarding | None
) -> Offboarded:
    """The outcome for one that is offboarded already. What is pending all the same is done with it."""
    await settle(session, pending, identity.receipt_id)
    receipt = None
    if identity.receipt_id is not None:
        receipt = await session.get(OffboardingReceipt, identity.receipt_id)
    if receipt is None:
        nobody = TransferredAgents(to=None, agents=[])
        return Offboarded(identity.id, False, OffboardedThings.none(), nobody)
    things, transferred = (
        OffboardedThings.from_receipt(receipt.body),
        TransferredAgents.from_receipt(receipt.body),
    )
    return Offboarded(identity.id, False, things, transferred, receipt.id)


def _came_due(pending: ScheduledOffboarding | None) -> ReceiptSchedule | None:
    if pending is None:
        return None
    return ReceiptSchedule(id=pending.id, effective_at=pending.effective_at, scheduled_by=asked_by(pending))


def _said_of(schedule: ReceiptSchedule | None) -> dict[str, Any]:
    """What the event says of the one who asked, since the system did it."""
    if schedule is None:
        return {}
    said = schedule.model_dump(mode="json")
    return {
        "schedule_id": format_id(SCHEDULED_OFFBOARDING, schedule.id),
        "scheduled_by": said["scheduled_by"],
    }


async def _tell(session: AsyncSession, affected: Affected, receipt_id: UUID) -> None:
    id = affected.identity.id
    offboarded = identity_message(WebhookEvent.IDENTITY_OFFBOARDED, id, receipt_id, receipt_id=receipt_id)
    ended = (
        grant_message(WebhookEvent.GRANT_ENDED, grant, receipt_id, identity_id=id, group_id=None)
        for grant in affected.grants
    )
    await tell(session, offboarded, *ended)


async def _end_rights(session: AsyncSession, affected: Affected) -> None:
    """Grants to the person and their memberships end too, so that reinstating brings nothing back by itself."""
    await end_grants(session, affected.grants)
    await end_memberships(session, affected.memberships)
    # Tokens of agents that are handed over live on; what the leaver could have picked up of them does not.
    await end_pickups_of(session, affected.identity.id)
    await end_invitations(session, affected.identity.id)
    await close_versions(session, [*affected.grants, *affected.memberships])


async def _end_people(
    session: AsyncSession, caller: Caller, affected: Affected, request_id: str | None
) -> int:
    """Stop or hand over the agents, and end the identity itself; how many browsers were signed out."""
    suspended = affected.suspended
    moving = affected.agents if affected.heir else suspended
    told = []
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
        event_id = await record(
            session, caller, action, "identity", agent.id, changes=changes, request_id=request_id
        )
        type = WebhookEvent.IDENTITY_SUSPENDED if affected.heir is None else WebhookEvent.IDENTITY_UPDATED
        told.append(identity_message(type, agent.id, event_id))
    await tell(session, *told)
    if affected.administrator is not None:
        affected.administrator.status = "disabled"
        affected.administrator.revision += 1
    await flag_accounts(session, affected.service_accounts)
    identity = affected.identity
    signed_out = await end_browser_sessions(session, identity.id)
    identity.status = "offboarded"
    identity.offboarded_at = func.now()  # type: ignore[assignment]
    # So that a reinstatement does not bring back what their provider gave out before.
    identity.sign_ins_after = func.clock_timestamp()  # type: ignore[assignment]
    identity.revision += 1
    await session.flush()
    for one in (*moving, identity):
        await keep_identity(session, one)
    return signed_out
