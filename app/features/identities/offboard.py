"""Offboarding: everything that an identity could do ends, in one transaction, with a receipt."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.signing import Signer
from app.db.outbox import tell
from app.db.versions import move_versions
from app.db.webhook_events import WebhookEvent, administrator_message, grant_message, identity_message
from app.domain.errors import Conflict, Forbidden, Invalid, NotFound
from app.features.approvals.cancel import cancel_approvals
from app.features.audit.record import close_versions, record
from app.features.identities import offboard_queries as queries
from app.features.identities.affected import Affected, find_people, gather
from app.features.identities.history import keep_identity
from app.features.identities.offboard_preview import preview_of
from app.features.identities.offboard_schemas import (
    Offboard,
    OffboardedThings,
    OffboardPreview,
    TransferredAgents,
)
from app.features.identities.queries import end_browser_sessions
from app.features.identities.read_by_policies import check_may_transfer
from app.features.identities.receipt_schemas import OffboardedVia, Receipt, ReceiptSchedule
from app.features.identities.receipts import add_receipt, named
from app.features.identities.schedule_queries import lock_pending, settle
from app.features.identities.schedule_schemas import asked_by
from app.features.identities.standing import check_may_end, roles_behind
from app.features.invitations.queries import end_invitations
from app.features.tokens.pickup_queries import end_pickups_of
from app.features.tokens.revoke import end_tokens
from app.http.authorization import MANAGING_ROLES, Caller
from app.http.etags import Precondition
from app.lib.ids import IDENTITY, SCHEDULED_OFFBOARDING, format_id
from app.models.identities import Identity, OffboardingReceipt
from app.models.tokens import ScheduledOffboarding


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
    await queries.end_grants(session, affected.grants)
    await queries.end_memberships(session, affected.memberships)
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
    await queries.flag_accounts(session, affected.service_accounts)
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
