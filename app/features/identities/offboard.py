"""Offboarding: end all access of an identity, in one transaction, with a receipt.

A dry run finds the same things without locks. Locks are taken in one order: turns, identities, grants, tokens, each by
id. A transaction that issues a token, creates a grant, adds a member, or creates or hands over an agent holds the
identity FOR SHARE. So it either commits first and is found here, or waits and then sees an inactive identity.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.signing import Signer
from app.db.change import Change, write
from app.db.versions import move_versions
from app.db.webhook_events import (
    WebhookEvent,
    administrator_message,
    enqueue,
    grant_message,
    identity_message,
)
from app.domain.errors import Conflict, Forbidden, Invalid, NotFound
from app.features.approvals.queries import open_approvals
from app.features.approvals.service import cancel_approvals
from app.features.audit.queries import count_calls
from app.features.audit.record import close_versions, record
from app.features.identities.policy_reads import check_may_transfer
from app.features.identities.queries import (
    end_browser_sessions,
    keep_identity,
    lock_pending,
    settle,
    take_turns,
)
from app.features.identities.receipts import add_receipt, describe_caller
from app.features.identities.role_checks import check_may_end, roles_behind
from app.features.identities.schemas import (
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
from app.features.invitations.queries import end_invitations
from app.features.tokens import queries as token_queries
from app.features.tokens.queries import among, end_pickups_of
from app.features.tokens.service import end_tokens
from app.http.authorization import MANAGING_ROLES, Caller
from app.http.etags import Precondition
from app.lib.ids import GRANT, GROUP, IDENTITY, SCHEDULED_OFFBOARDING, SERVICE_ACCOUNT, format_id
from app.models.access import Approval, Grant
from app.models.identities import Administrator, GroupMember, Identity, OffboardingReceipt, ServiceAccount
from app.models.tokens import ScheduledOffboarding, Token

_QUIET = {"synchronize_session": False}


async def find_leaver(
    session: AsyncSession, *, external_id: str | None, user_name: str | None
) -> Sequence[Identity]:
    """Find identities with this external id, or this user name ignoring case; newest first."""
    query = select(Identity).order_by(col(Identity.id).desc())
    if external_id is not None:
        query = query.where(col(Identity.external_id) == external_id)
    if user_name is not None:
        query = query.where(func.lower(col(Identity.user_name)) == func.lower(user_name))
    return (await session.scalars(query)).all()


async def agents_of(session: AsyncSession, owner_id: UUID) -> list[UUID]:
    """The agents of this person that are not offboarded."""
    query = select(col(Identity.id)).where(
        col(Identity.owner_id) == owner_id, col(Identity.status) != "offboarded"
    )
    return list(await session.scalars(query))


async def open_grants(session: AsyncSession, identity_id: UUID, *, lock: bool) -> list[UUID]:
    """The grants of the identity itself that have not ended."""
    query = select(col(Grant.id)).where(col(Grant.identity_id) == identity_id, col(Grant.ended_at).is_(None))
    return await _ids(session, query.order_by(col(Grant.id)), lock=lock)


async def end_grants(session: AsyncSession, ids: Collection[UUID]) -> None:
    """End these grants now."""
    values: dict[str, Any] = {"ended_at": func.now(), "revision": col(Grant.revision) + 1}
    await session.execute(
        update(Grant).where(among(col(Grant.id), ids)).values(values).execution_options(**_QUIET)
    )


async def memberships(session: AsyncSession, identity_id: UUID) -> dict[UUID, UUID]:
    """The groups of the identity, by the id of the membership."""
    query = select(GroupMember).where(col(GroupMember.identity_id) == identity_id)
    return {row.id: row.group_id for row in await session.scalars(query)}


async def end_memberships(session: AsyncSession, ids: Collection[UUID]) -> None:
    """Delete these memberships; their past stays in the history."""
    await session.execute(
        delete(GroupMember).where(among(col(GroupMember.id), ids)).execution_options(**_QUIET)
    )


async def owned_accounts(session: AsyncSession, owner_ids: Collection[UUID], *, lock: bool) -> list[UUID]:
    """The service accounts of these owners that are not flagged yet."""
    query = select(col(ServiceAccount.id)).where(
        among(col(ServiceAccount.owner_id), owner_ids),
        col(ServiceAccount.ended_at).is_(None),
        col(ServiceAccount.owner_offboarded).is_(False),
    )
    return await _ids(session, query.order_by(col(ServiceAccount.id)), lock=lock)


async def flag_accounts(session: AsyncSession, ids: Collection[UUID]) -> None:
    """Flag these service accounts as having lost their owner."""
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
    """The identity's administrator record, unless it is disabled."""
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
    """Everything that one offboarding affects."""

    identity: Identity
    heir: UUID | None
    agents: list[Identity]
    lost_heir: UUID | None = None
    """The intended new owner of the agents, who is inactive or may not have them."""
    grants: list[UUID] = field(default_factory=list)
    tokens: list[UUID] = field(default_factory=list)
    holders: dict[UUID, UUID] = field(default_factory=dict)
    """The holders of these tokens, by token id."""
    memberships: dict[UUID, UUID] = field(default_factory=dict)
    """The groups, by the id of the membership."""
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

    def changes(self) -> dict[str, Any]:
        """The changes for the event: only ids and counts. The reason, which people write, is stored with the
        receipt."""
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
            "grants": self.grants,
            "groups": list(self.memberships.values()),
            "service_accounts": self.service_accounts,
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
        ids = {id, *await agents_of(session, id)} | ({heir} if heir else set())
        if ids <= locked.keys():
            break
        read = token_queries.lock_identities if lock else token_queries.read_identities
        read_now = await read(session, ids)
        # An unknown id would never be found, however often it is read again.
        if id not in read_now:
            raise NotFound("There is no such identity.")
        if heir and heir not in read_now:
            raise Invalid.field("/transfer_agents_to", "not_found", "There is no such identity.")
        locked |= read_now
    lost = None
    if heir is not None and locked[id].status != "offboarded" and not _can_inherit(locked[heir], id):
        if not heir_may_be_lost:
            raise Invalid.field(
                "/transfer_agents_to",
                "not_an_active_person",
                "Agents can go to another person who is active.",
            )
        heir, lost = None, heir
    agents = [one for one in locked.values() if one.owner_id == id and one.status != "offboarded"]
    return Affected(locked[id], heir, sorted(agents, key=lambda agent: agent.id), lost)


def _can_inherit(heir: Identity, leaver: UUID) -> bool:
    return heir.id != leaver and heir.kind == "person" and heir.status == "active"


async def gather(session: AsyncSession, affected: Affected, *, lock: bool) -> None:
    """Find what else ends. Tokens of transferred agents stay, unless attenuated from one that ends."""
    id, ending = affected.identity.id, affected.ending
    affected.grants = await open_grants(session, id, lock=lock)
    family = token_queries.lock_live_family if lock else token_queries.live_family
    affected.tokens = await family(session, [token_queries.among(col(Token.identity_id), ending)])
    affected.holders = await token_queries.holders_of(session, affected.tokens)
    affected.memberships = await memberships(session, id)
    asked_by = token_queries.among(col(Approval.identity_id), ending)
    of_tokens = token_queries.among(col(Approval.token_id), affected.tokens)
    affected.approvals = await open_approvals(session, asked_by, of_tokens, lock=lock)
    affected.service_accounts = await owned_accounts(session, ending, lock=lock)
    affected.administrator = await active_administrator(session, id, lock=lock)
    affected.in_flight = await token_queries.count_in_flight(session, affected.tokens)


_PREVIEW_WINDOW = timedelta(days=1)


async def preview_of(session: AsyncSession, affected: Affected) -> OffboardPreview:
    """Describe what would end, after ``gather``, and its recent usage."""
    return OffboardPreview(
        grants=affected.grants,
        groups=list(affected.memberships.values()),
        service_accounts=affected.service_accounts,
        calls_last_day=await count_calls(session, affected.ending, _PREVIEW_WINDOW, MAX_CALLS),
    )


@dataclass(frozen=True, slots=True)
class OffboardOutcome:
    """The outcome. ``receipt_id`` is None for a dry run with effects, and for an offboarding that is only
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
) -> OffboardOutcome:
    """Offboard an identity now. ``dry_run`` performs the same checks and returns the same answer, without locks or
    changes.

    A pending schedule is settled with it. ``via`` says who asked; for a schedule, a new owner who may no longer have
    the agents does not stop it. ``on_word_of`` has the roles that decide if they are not the caller's. A directory ends
    the people that it manages regardless of their role, and administrators are notified. Raises ``NotFound``,
    ``PreconditionFailed``, ``Forbidden``, ``Conflict`` for the last active owner, and ``Invalid`` when the agents
    cannot go to the given person.
    """
    due = via == "schedule"
    affected = await find_people(
        session, identity_id, body.transfer_agents_to, heir_may_be_lost=due, lock=not dry_run
    )
    identity = affected.identity
    if_match.check(identity.revision)
    # Another holder of the schedule's lock waits for the identity, and settles the schedule then.
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
                # The offboarding continues without a new owner.
                affected.heir, affected.lost_heir = None, affected.heir
    roles = await roles_behind(session, identity.id) if by_directory else frozenset()
    await gather(session, affected, lock=not dry_run)
    # Computed before the agents change, since it lists those that are still active.
    things, transferred = affected.things(), affected.transferred()
    if dry_run:
        preview = await preview_of(session, affected)
        return OffboardOutcome(identity.id, True, things, transferred, preview=preview)
    schedule = _due_schedule(pending) if due else None
    changes = affected.changes() | {"via": via} | _schedule_changes(schedule)
    content = affected.receipt() | {
        "via": via,
        "by": describe_caller(caller),
        "schedule": schedule,
        "request_id": request_id,
    }
    await _end_access(Change(session, caller, request_id, datetime.now(UTC)), affected, body.reason)
    content["browser_sessions"] = await _end_people(session, caller, affected, request_id)
    receipt_id = await record(
        session, caller, "identity.offboard", "identity", identity.id,
        changes=changes, request_id=request_id,
    )  # fmt: skip
    identity.receipt_id = receipt_id
    await session.flush()
    await session.refresh(identity)
    receipt = Receipt.model_validate(content | {"offboarded_at": identity.offboarded_at})
    revoked = things.model_dump(mode="json")
    add_receipt(session, signer, receipt_id, receipt, reason=body.reason, revoked=revoked)
    await settle(session, pending, receipt_id)
    people = [identity.id, *(agent.id for agent in affected.agents)]
    await move_versions(session, [*people, *affected.grants, *affected.tokens], narrows=True)
    await _tell(session, affected, receipt_id)
    if not roles.isdisjoint(MANAGING_ROLES):
        await enqueue(session, administrator_message(identity.id, receipt_id))
    return OffboardOutcome(identity.id, True, things, transferred, receipt_id)


async def find_to_offboard(session: AsyncSession, *, external_id: str | None, user_name: str | None) -> UUID:
    """Find the identity for an external name: the one not offboarded, else the latest.

    Raises ``Invalid`` unless exactly one name is given, ``NotFound``, and ``Conflict`` when two providers use the name.
    """
    if (external_id is None) == (user_name is None):
        raise Invalid.field("?external_id", "one_of", "Give external_id or user_name, exactly one of them.")
    identities = await find_leaver(session, external_id=external_id, user_name=user_name)
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
    receipt = None
    if identity.receipt_id is not None:
        receipt = await session.get(OffboardingReceipt, identity.receipt_id)
    if receipt is None:
        none = TransferredAgents(to=None, agents=[])
        return OffboardOutcome(identity.id, False, OffboardedThings.none(), none)
    things, transferred = (
        OffboardedThings.from_receipt(receipt.body),
        TransferredAgents.from_receipt(receipt.body),
    )
    return OffboardOutcome(identity.id, False, things, transferred, receipt.id)


def _due_schedule(pending: ScheduledOffboarding | None) -> ReceiptSchedule | None:
    if pending is None:
        return None
    return ReceiptSchedule(id=pending.id, effective_at=pending.effective_at, scheduled_by=asked_by(pending))


def _schedule_changes(schedule: ReceiptSchedule | None) -> dict[str, Any]:
    """The event fields for the person who scheduled it, since the system is the actor."""
    if schedule is None:
        return {}
    changes = schedule.model_dump(mode="json")
    return {
        "schedule_id": format_id(SCHEDULED_OFFBOARDING, schedule.id),
        "scheduled_by": changes["scheduled_by"],
    }


async def _tell(session: AsyncSession, affected: Affected, receipt_id: UUID) -> None:
    id = affected.identity.id
    offboarded = identity_message(WebhookEvent.IDENTITY_OFFBOARDED, id, receipt_id, receipt_id=receipt_id)
    ended = (
        grant_message(WebhookEvent.GRANT_ENDED, grant, receipt_id, identity_id=id, group_id=None)
        for grant in affected.grants
    )
    await enqueue(session, offboarded, *ended)


async def _end_access(change: Change, affected: Affected, reason: str) -> None:
    await cancel_approvals(change, affected.approvals, "identity_offboarded")
    await end_tokens(change, affected.tokens, reason)
    # Their events come before that of the offboarding.
    await write(change.session)
    await _end_rights(change.session, affected)


async def _end_rights(session: AsyncSession, affected: Affected) -> None:
    """End the identity's own grants and memberships too, so that a reinstatement does not restore them."""
    await end_grants(session, affected.grants)
    await end_memberships(session, affected.memberships)
    # Tokens of transferred agents stay; the leaver's open pickup links for them do not.
    await end_pickups_of(session, affected.identity.id)
    await end_invitations(session, affected.identity.id)
    await close_versions(session, [*affected.grants, *affected.memberships])


async def _end_people(
    session: AsyncSession, caller: Caller, affected: Affected, request_id: str | None
) -> int:
    """Stop or transfer the agents, and end the identity itself; return the number of ended browser sessions."""
    suspended = affected.suspended
    moving = affected.agents if affected.heir else suspended
    messages = []
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
        messages.append(identity_message(type, agent.id, event_id))
    await enqueue(session, *messages)
    if affected.administrator is not None:
        affected.administrator.status = "disabled"
        affected.administrator.revision += 1
    await flag_accounts(session, affected.service_accounts)
    identity = affected.identity
    signed_out = await end_browser_sessions(session, identity.id)
    identity.status = "offboarded"
    identity.offboarded_at = func.now()  # type: ignore[assignment]
    # So that a reinstatement does not make earlier provider tokens valid again.
    identity.sign_ins_after = func.clock_timestamp()  # type: ignore[assignment]
    identity.revision += 1
    await session.flush()
    for one in (*moving, identity):
        await keep_identity(session, one)
    return signed_out
