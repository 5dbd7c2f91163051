"""Offboarding: end all access of an identity, in one transaction, with a receipt.

It is above everything that belongs to a person, and calls the services of that (ADR 26).

A dry run finds the same things without locks. Locks are taken in one order: turns, identities, grants, tokens, each by
id. A transaction that issues a token, creates a grant, adds a member, or creates or hands over an agent holds the
identity FOR SHARE. So it either commits first and is found here, or waits and then sees an inactive identity.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.signing import Signer
from app.db.change import Change
from app.db.rows import is_one_of
from app.db.webhook_events import Message, WebhookEvent
from app.domain.errors import Conflict, Forbidden, Invalid, NotFound
from app.features.administrators.queries import find_administrator
from app.features.administrators.service import disable_with_person
from app.features.approvals.queries import open_approvals
from app.features.approvals.service import cancel_approvals
from app.features.audit.queries import count_calls
from app.features.browser_sessions.service import end_browser_sessions
from app.features.grants.queries import open_grants_of
from app.features.grants.service import end_grants_with
from app.features.groups.queries import MEMBERSHIP
from app.features.groups.service import end_memberships
from app.features.identities.policy_reads import check_may_transfer
from app.features.identities.queries import agents_of, take_turns
from app.features.identities.role_checks import check_may_end, roles_behind
from app.features.identities.service import end_agents, end_identity
from app.features.invitations.service import end_invitations
from app.features.offboarding.queries import lock_pending
from app.features.offboarding.receipts import add_receipt, describe_caller
from app.features.offboarding.schemas import (
    MAX_CALLS,
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
from app.features.service_accounts.queries import owned_accounts
from app.features.service_accounts.service import flag_accounts
from app.features.tokens import queries as token_queries
from app.features.tokens.service import end_pickups_of, end_tokens
from app.http.authorization import MANAGING_ROLES, Caller
from app.http.etags import Precondition
from app.lib import ids
from app.lib.ids import format_id
from app.models.access import Approval, Grant
from app.models.identities import Administrator, GroupMember, Identity, OffboardingReceipt
from app.models.tokens import ScheduledOffboarding, Token


@dataclass(slots=True)
class Affected:
    """Everything that one offboarding affects."""

    identity: Identity
    heir: UUID | None
    agents: list[Identity]
    lost_heir: UUID | None = None
    """The intended new owner of the agents, who is inactive or may not have them."""
    grants: list[Grant] = field(default_factory=list)
    tokens: list[UUID] = field(default_factory=list)
    holders: dict[UUID, UUID] = field(default_factory=dict)
    """The holders of these tokens, by token id."""
    memberships: list[GroupMember] = field(default_factory=list)
    approvals: list[UUID] = field(default_factory=list)
    service_accounts: list[UUID] = field(default_factory=list)
    administrator: Administrator | None = None
    in_flight: int = 0

    @property
    def suspended(self) -> list[Identity]:
        """Agents without a new owner that were active until now."""
        return [] if self.heir else [agent for agent in self.agents if agent.status == "active"]

    @property
    def ending(self) -> list[UUID]:
        """The holders whose tokens end: the identity itself, and its agents unless they are transferred."""
        return [self.identity.id] if self.heir else [self.identity.id, *(agent.id for agent in self.agents)]

    def things(self) -> OffboardedThings:
        """The ended objects, as a response model."""
        return OffboardedThings(
            tokens=self.tokens,
            agents=[agent.id for agent in self.suspended],
            approvals=len(self.approvals),
            in_flight=self.in_flight,
            administrator=self.administrator is not None,
        )

    def transferred(self) -> TransferredAgents:
        """The transferred agents, as a response model."""
        agents = [agent.id for agent in self.agents] if self.heir else []
        return TransferredAgents(to=self.heir, agents=agents)

    def rights(self) -> dict[str, list[UUID]]:
        """The rights that end or are flagged, by the fields of a preview and of the receipt."""
        return {
            "grants": [grant.id for grant in self.grants],
            "groups": [member.group_id for member in self.memberships],
            "service_accounts": self.service_accounts,
        }

    def details(self) -> dict[str, Any]:
        """The details of the event: only ids and counts. The reason, which people write, is stored with the
        receipt."""
        transferred = self.transferred().model_dump(mode="json")
        if self.lost_heir is not None:
            transferred["heir_not_active"] = format_id(ids.IDENTITY, self.lost_heir)
        preview = OffboardPreview(**self.rights(), calls_last_day=0)
        rights = preview.model_dump(mode="json", exclude={"calls_last_day"})
        return {"revoked": self.things().model_dump(mode="json"), "transferred": transferred, **rights}

    def receipt(self) -> dict[str, Any]:
        """The receipt's fields about what ended."""
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
            **self.rights(),
            "administrator_id": None if self.administrator is None else self.administrator.id,
            "in_flight": self.in_flight,
        }


async def find_people(
    session: AsyncSession, id: UUID, heir: UUID | None, *, heir_may_be_lost: bool = False, lock: bool
) -> Affected:
    """Read the identity, its agents and their new owner, once the locks are held.

    Raises ``NotFound``, and ``Invalid`` for a new owner who is not another active person, unless that is allowed: then
    there is none.
    """
    if lock:
        # For the agents too: issuing a token for an agent shares the turn of its owner.
        await take_turns(session, {id, heir} if heir else {id})
    locked: dict[UUID, Identity] = {}
    while True:
        people = {id, *await agents_of(session, id, live=True)} | ({heir} if heir else set())
        if people <= locked.keys():
            break
        read_now = await token_queries.read_identities(session, people, lock=lock)
        # An unknown id would never be found, however often it is read again.
        if id not in read_now:
            raise NotFound("There is no such identity.")
        if heir and heir not in read_now:
            raise Invalid.field("/transfer_agents_to", "not_found", "There is no such identity.")
        locked |= read_now
    lost = None
    if heir is not None and locked[id].status != "offboarded":
        owner = locked[heir]
        if heir == id or owner.kind != "person" or owner.status != "active":
            if not heir_may_be_lost:
                raise Invalid.field(
                    "/transfer_agents_to",
                    "not_an_active_person",
                    "Agents can go to another person who is active.",
                )
            heir, lost = None, heir
    agents = [one for one in locked.values() if one.owner_id == id and one.status != "offboarded"]
    return Affected(locked[id], heir, sorted(agents, key=lambda agent: agent.id), lost)


async def gather(session: AsyncSession, affected: Affected, *, lock: bool) -> None:
    """Find what else ends. Tokens of transferred agents stay, unless attenuated from one that ends."""
    id, ending = affected.identity.id, affected.ending
    affected.grants = await open_grants_of(session, "identity_id", id, lock=lock)
    family = token_queries.lock_live_family if lock else token_queries.live_family
    affected.tokens = await family(session, [is_one_of(col(Token.identity_id), ending)])
    affected.holders = await token_queries.holders_of(session, affected.tokens)
    affected.memberships = list(
        await session.scalars(select(GroupMember).where(col(GroupMember.identity_id) == id))
    )
    asked_by = is_one_of(col(Approval.identity_id), ending)
    of_tokens = is_one_of(col(Approval.token_id), affected.tokens)
    affected.approvals = await open_approvals(session, asked_by, of_tokens, lock=lock)
    affected.service_accounts = await owned_accounts(session, ending, lock=lock)
    administrator = await find_administrator(session, id, lock=lock)
    affected.administrator = administrator if administrator and administrator.status == "active" else None
    affected.in_flight = await token_queries.count_in_flight(session, affected.tokens)


@dataclass(frozen=True, slots=True)
class OffboardOutcome:
    """The outcome. ``receipt_id`` is None for a dry run with effects, and for an offboarding that is only
    ``scheduled``."""

    identity_id: UUID
    changed: bool
    things: OffboardedThings = field(
        default_factory=lambda: OffboardedThings(
            tokens=[], agents=[], approvals=0, in_flight=0, administrator=False
        )
    )
    transferred: TransferredAgents = field(default_factory=lambda: TransferredAgents(to=None, agents=[]))
    receipt_id: UUID | None = None
    scheduled: ScheduledOffboarding | None = None
    preview: OffboardPreview | None = None


async def preview_offboarding(session: AsyncSession, affected: Affected, *, changed: bool) -> OffboardOutcome:
    """The outcome of a dry run: what would end, and its recent usage."""
    await gather(session, affected, lock=False)
    calls = await count_calls(session, affected.ending, timedelta(days=1), MAX_CALLS)
    preview = OffboardPreview(**affected.rights(), calls_last_day=calls)
    return OffboardOutcome(
        affected.identity.id, changed, affected.things(), affected.transferred(), preview=preview
    )


async def offboard_identity(
    change: Change,
    id: UUID,
    body: Offboard,
    if_match: Precondition,
    *,
    signer: Signer,
    via: OffboardedVia = "api",
    on_word_of: Caller | None = None,
    dry_run: bool = False,
) -> OffboardOutcome:
    """Offboard an identity now. ``dry_run`` performs the same checks and returns the same answer, without locks or
    changes.

    A pending schedule is settled with it. ``via`` says who asked; for a schedule, a new owner who may no longer have
    the agents does not stop it. ``on_word_of`` has the roles that decide if they are not the caller's. A directory ends
    the people that it manages regardless of their role, and administrators are notified. Raises ``NotFound``,
    ``PreconditionFailed``, ``Forbidden``, ``Conflict`` for the last active owner, and ``Invalid`` when the agents
    cannot go to the given person.
    """
    session, decider, due = change.session, on_word_of or change.caller, via == "schedule"
    affected = await find_people(session, id, body.transfer_agents_to, heir_may_be_lost=due, lock=not dry_run)
    identity = affected.identity
    if_match.check(identity.revision)
    # Another holder of the schedule's lock waits for the identity, and settles the schedule then.
    pending = None if dry_run else await lock_pending(session, id, wait=False)
    if identity.status == "offboarded":
        return await first_receipt(session, identity, pending)
    by_directory = via in {"scim", "signal"}
    if not by_directory:
        await check_may_end(session, decider, identity)
        if affected.heir is not None and affected.agents:
            try:
                await check_may_transfer(session, decider, affected.heir)
            except Forbidden:
                if not due:
                    raise
                # The offboarding continues without a new owner.
                affected.heir, affected.lost_heir = None, affected.heir
    if dry_run:
        return await preview_offboarding(session, affected, changed=True)
    roles = await roles_behind(session, identity.id) if by_directory else frozenset()
    await gather(session, affected, lock=True)
    # Computed before the agents change, since it lists those that are still active.
    things, transferred = affected.things(), affected.transferred()
    details, schedule = affected.details() | {"via": via}, None
    if due and pending is not None:
        # The person who scheduled it, since the system is the actor.
        by = asked_by(pending)
        schedule = ReceiptSchedule(id=pending.id, effective_at=pending.effective_at, scheduled_by=by)
        details["schedule_id"] = format_id(ids.SCHEDULED_OFFBOARDING, pending.id)
        details["scheduled_by"] = by.model_dump(mode="json")
    content = affected.receipt() | {
        "via": via,
        "by": describe_caller(change.caller),
        "schedule": schedule,
        "request_id": change.request_id,
    }
    await cancel_approvals(change, affected.approvals, "identity_offboarded")
    await end_tokens(change, affected.tokens, body.reason)
    # Tokens of transferred agents stay; the leaver's open pickup links for them do not.
    await end_pickups_of(session, identity.id)
    await end_invitations(session, identity.id)
    end_agents(change, affected.agents if affected.heir else affected.suspended, affected.heir)
    await flag_accounts(session, affected.service_accounts)
    content["browser_sessions"] = await end_browser_sessions(session, identity.id)
    receipt_id = await _end_identity(change, affected, details)
    receipt = Receipt.model_validate(content | {"offboarded_at": identity.offboarded_at})
    revoked = things.model_dump(mode="json")
    add_receipt(session, signer, receipt_id, receipt, reason=body.reason, revoked=revoked)
    await settle(session, pending, receipt_id)
    change.move(narrows=[agent.id for agent in affected.agents])
    named = {"identity_id": identity.id, "event_id": receipt_id, "receipt_id": receipt_id}
    change.enqueue(Message(WebhookEvent.IDENTITY_OFFBOARDED.value, named))
    if not roles.isdisjoint(MANAGING_ROLES):
        change.enqueue(Message(WebhookEvent.ADMINISTRATOR_OFFBOARDED.value, named))
    return OffboardOutcome(identity.id, True, things, transferred, receipt_id)


async def _end_identity(change: Change, affected: Affected, details: dict[str, Any]) -> UUID:
    """End the identity itself and disable its administrator. Its own grants and memberships end too, so that a
    reinstatement does not restore them. Returns the id of the event, which is that of the receipt."""
    session, identity = change.session, affected.identity
    if affected.administrator is not None:
        disable_with_person(affected.administrator)
    receipt_id = end_identity(change, identity, details)
    end_grants_with(change, receipt_id, affected.grants)
    for member in affected.memberships:
        change.record_with(receipt_id, MEMBERSHIP, member, None)
    await end_memberships(session, col(GroupMember.identity_id) == identity.id)
    await session.flush()
    await session.refresh(identity)
    return receipt_id


async def find_to_offboard(session: AsyncSession, *, external_id: str | None, user_name: str | None) -> UUID:
    """Find the identity for an external name: the one not offboarded, else the latest.

    Raises ``Invalid`` unless exactly one name is given, ``NotFound``, and ``Conflict`` when two providers use the name.
    """
    if (external_id is None) == (user_name is None):
        raise Invalid.field("?external_id", "one_of", "Give external_id or user_name, exactly one of them.")
    name: Any = col(Identity.external_id) == external_id
    if user_name is not None:
        name = func.lower(col(Identity.user_name)) == func.lower(user_name)
    identities = list(await session.scalars(select(Identity).where(name).order_by(col(Identity.id).desc())))
    active = [row.id for row in identities if row.status != "offboarded"]
    if len(active) > 1:
        raise Conflict(
            "Several identities of different providers have this name: offboard each by its id.",
            code="ambiguous_identity",
        )
    if not identities:
        raise NotFound("There is no such identity.")
    return active[0] if active else identities[0].id


async def first_receipt(
    session: AsyncSession, identity: Identity, pending: ScheduledOffboarding | None
) -> OffboardOutcome:
    """The outcome for an identity that is already offboarded. A schedule that is still pending is settled."""
    await settle(session, pending, identity.receipt_id)
    receipt = await session.get(OffboardingReceipt, identity.receipt_id) if identity.receipt_id else None
    if receipt is None:
        return OffboardOutcome(identity.id, False)
    things = OffboardedThings.from_receipt(receipt.body)
    return OffboardOutcome(
        identity.id, False, things, TransferredAgents.from_receipt(receipt.body), receipt.id
    )


async def settle(
    session: AsyncSession, pending: ScheduledOffboarding | None, receipt_id: UUID | None
) -> None:
    """Complete a schedule: the identity is offboarded."""
    if pending is not None:
        pending.receipt_id = receipt_id
        await finish(session, pending, "completed")


async def finish(session: AsyncSession, row: ScheduledOffboarding, status: str) -> None:
    """Close a locked, pending schedule, and read it back."""
    row.status = status
    row.finished_at = func.clock_timestamp()  # type: ignore[assignment]
    row.revision += 1
    await session.flush()
    await session.refresh(row)
