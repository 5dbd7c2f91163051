"""Scheduled offboardings, at most one per identity, and the task that carries them out when they are due.

Every worker looks, and each offboarding runs once: a worker locks the row until its transaction ends, so a lost worker
leaves it to the next, and what came due while the service was down runs at the next start.
"""

import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.signing import Signer
from app.db.engine import commit, sqlstate
from app.db.jobs import OUTAGES, Periodic
from app.db.webhook_events import WebhookEvent, enqueue, identity_message
from app.domain.errors import Conflict, Forbidden, Invalid, NotFound
from app.features.audit.record import record
from app.features.identities.offboard import (
    OffboardOutcome,
    find_people,
    first_receipt,
    gather,
    offboard_identity,
    preview_of,
)
from app.features.identities.policy_reads import check_may_transfer
from app.features.identities.queries import (
    claim_due,
    find_scheduled,
    finish,
    lock_pending,
    roles_of_requester,
)
from app.features.identities.role_checks import check_may_change, check_not_self
from app.features.identities.schemas import (
    Offboard,
    OffboardedThings,
    OffboardRequest,
    TransferredAgents,
)
from app.features.identities.service import lock_found_identity
from app.features.tokens import queries
from app.http.authorization import Caller, Role
from app.http.etags import Precondition
from app.lib.ids import IDENTITY, SCHEDULED_OFFBOARDING, format_id
from app.lib.logs import log_fault
from app.models.tokens import ScheduledOffboarding

MAX_AHEAD = timedelta(days=366)
"""A year, whichever."""
_MOVABLE = ("effective_at", "reason", "transfer_agents_to")


async def offboard_when_asked(
    session: AsyncSession,
    caller: Caller,
    identity_id: UUID,
    body: OffboardRequest,
    if_match: Precondition,
    *,
    signer: Signer,
    dry_run: bool,
    request_id: str | None,
) -> OffboardOutcome:
    """Offboard now, or schedule it if a future time is given. Raises as both do."""
    at = body.effective_at
    if at is None or at <= (now := await queries.database_now(session)):
        return await offboard_identity(
            session,
            caller,
            identity_id,
            body,
            if_match,
            signer=signer,
            dry_run=dry_run,
            request_id=request_id,
        )
    if at > now + MAX_AHEAD:
        latest = (now + MAX_AHEAD).isoformat(timespec="seconds")
        raise Invalid.field(
            "/effective_at", "too_late", f"The time is too far ahead: choose one up to {latest}."
        )
    return await _schedule(
        session, caller, identity_id, body, at, if_match, dry_run=dry_run, request_id=request_id
    )


async def _schedule(
    session: AsyncSession,
    caller: Caller,
    identity_id: UUID,
    body: OffboardRequest,
    at: datetime,
    if_match: Precondition,
    *,
    dry_run: bool,
    request_id: str | None,
) -> OffboardOutcome:
    pending = None if dry_run else await lock_pending(session, identity_id)
    if not dry_run:
        # So that a concurrent request waits, and moves this schedule.
        await lock_found_identity(session, identity_id)
        pending = pending or await lock_pending(session, identity_id)
    affected = await find_people(session, identity_id, body.transfer_agents_to, lock=False)
    identity = affected.identity
    if_match.check(identity.revision)
    if identity.status == "offboarded":
        return await first_receipt(session, identity, pending)
    await _check_may_schedule(session, caller, identity_id)
    if affected.heir is not None:
        await check_may_transfer(session, caller, affected.heir)
    if dry_run:
        await gather(session, affected, lock=False)
        things, transferred = affected.things(), affected.transferred()
        preview = await preview_of(session, affected)
        return OffboardOutcome(identity.id, False, things, transferred, preview=preview)
    values = {"effective_at": at, "reason": body.reason, "transfer_agents_to": body.transfer_agents_to}
    row = await _store_schedule(session, caller, identity_id, pending, values, request_id)
    nothing = OffboardOutcome(
        identity.id, False, OffboardedThings.none(), TransferredAgents(to=None, agents=[])
    )
    return replace(nothing, scheduled=row)


async def _store_schedule(
    session: AsyncSession,
    caller: Caller,
    identity_id: UUID,
    pending: ScheduledOffboarding | None,
    values: dict[str, Any],
    request_id: str | None,
) -> ScheduledOffboarding:
    """Create or move the schedule of an identity, with event and message, unless it is unchanged."""
    before = {name: None if pending is None else getattr(pending, name) for name in _MOVABLE}
    if values == before and pending is not None:
        return pending
    row = pending or ScheduledOffboarding(
        identity_id=identity_id,
        effective_at=values["effective_at"],
        requested_by_kind="",
        requested_by_id=caller.id,
    )
    for name, value in values.items():
        setattr(row, name, value)
    row.requested_by_kind, row.requested_by_id, row.on_behalf_of = caller.kind, caller.id, caller.identity_id
    if pending is not None:
        row.revision += 1
    session.add(row)
    await session.flush()
    await session.refresh(row)
    changes = {"schedule_id": format_id(SCHEDULED_OFFBOARDING, row.id)} | _audit_changes(before, values)
    event_id = await record(
        session, caller, "identity.schedule_offboarding", "identity", identity_id,
        changes=changes, request_id=request_id,
    )  # fmt: skip
    await enqueue(
        session,
        identity_message(
            WebhookEvent.IDENTITY_OFFBOARDING_SCHEDULED, identity_id, event_id, effective_at=row.effective_at
        ),
    )
    return row


async def read_scheduled(session: AsyncSession, id: UUID) -> ScheduledOffboarding:
    """Read a schedule. Raises ``NotFound``."""
    return _require_scheduled(await find_scheduled(session, id))


async def cancel_scheduled(
    session: AsyncSession, caller: Caller, id: UUID, if_match: Precondition, request_id: str | None
) -> ScheduledOffboarding:
    """Cancel a schedule. Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden``, and ``Conflict`` when it is
    done."""
    row = _require_scheduled(await find_scheduled(session, id, lock=True))
    if_match.check(row.revision)
    if row.status == "completed":
        raise Conflict(
            "This offboarding has happened; reinstate the identity if it should not have.",
            code="offboarding_already_done",
        )
    if row.status == "cancelled":
        return row
    await _check_may_schedule(session, caller, row.identity_id)
    await end_schedule(session, caller, row, request_id)
    return row


async def end_schedule(
    session: AsyncSession,
    caller: Caller,
    row: ScheduledOffboarding,
    request_id: str | None,
    *,
    because: str | None = None,
) -> None:
    """Cancel a locked, pending schedule; ``because`` is the code of the obstacle."""
    await finish(session, row, "cancelled")
    changes = {"schedule_id": format_id(SCHEDULED_OFFBOARDING, row.id)}
    if because is not None:
        changes["because"] = because
    event_id = await record(
        session, caller, "identity.cancel_offboarding", "identity", row.identity_id,
        changes=changes, request_id=request_id,
    )  # fmt: skip
    cancelled = WebhookEvent.IDENTITY_OFFBOARDING_CANCELLED
    await enqueue(session, identity_message(cancelled, row.identity_id, event_id))


def _require_scheduled(row: ScheduledOffboarding | None) -> ScheduledOffboarding:
    if row is None:
        raise NotFound("There is no such scheduled offboarding.")
    return row


async def _check_may_schedule(session: AsyncSession, caller: Caller, identity_id: UUID) -> None:
    """Raise ``Forbidden`` for the caller's own offboarding, and for one with a higher role.

    Whether it is the last owner's is checked when it is due.
    """
    await check_not_self(session, caller, identity_id)
    await check_may_change(session, caller, identity_id)


def _audit_changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The changes for the event, without the reason, which people write."""
    changed: dict[str, Any] = {}
    for name in ("effective_at", "transfer_agents_to"):
        if before[name] != after[name]:
            changed[name] = {"from": _show(before[name]), "to": _show(after[name])}
    if before["reason"] != after["reason"]:
        changed["reason"] = {"personal": True}
    return changed


def _show(value: UUID | datetime | None) -> str | None:
    if isinstance(value, datetime):
        return value.isoformat()
    return None if value is None else format_id(IDENTITY, value)


_log = logging.getLogger(__name__)
_REST_S = 5.0
"""The pause after a failed offboarding, so that others run in between."""
_COLLISIONS = {"40001", "40P01"}


class ScheduledOffboardings(Periodic):
    """The task of one worker for due offboardings."""

    name = "looking for scheduled offboardings"
    every_s = 0.6

    def __init__(self, sessions: async_sessionmaker[AsyncSession], signer: Signer) -> None:
        super().__init__(sessions)
        self._signer = signer
        self._resting: dict[UUID, float] = {}

    async def round(self) -> None:
        """Carry out all due offboardings."""
        while await self.next():
            pass

    async def next(self) -> bool:
        """Carry out one due offboarding; return whether there was one."""
        now = asyncio.get_running_loop().time()
        self._resting = {id: until for id, until in self._resting.items() if until > now}
        async with self._sessions() as session:
            row = await claim_due(session, self._resting.keys())
            if row is None:
                return False
            # Read now, since the row cannot be read after its transaction failed.
            id = row.id
            try:
                await carry_out(session, self._signer, row)
                await commit(session)
            except Exception as error:
                if not (isinstance(error, DBAPIError) and sqlstate(error) in _COLLISIONS):
                    # A serialization failure is repeated immediately, any other error later.
                    self._resting[id] = now + _REST_S
                if isinstance(error, OUTAGES):
                    raise
                if id in self._resting:
                    log_fault(
                        _log, f"the scheduled offboarding {format_id(SCHEDULED_OFFBOARDING, id)}", error
                    )
            return True


async def carry_out(session: AsyncSession, signer: Signer, row: ScheduledOffboarding) -> None:
    """Offboard the identity of a locked schedule, as the system, on behalf of the person who scheduled it.

    It is cancelled when the role of that person is no longer sufficient, or the identity is the last active owner.
    """
    system = Caller("system", UUID(int=0), frozenset({Role.ADMIN}), row.on_behalf_of)
    requester = Caller(row.requested_by_kind, row.requested_by_id, await roles_of_requester(session, row))
    try:
        await offboard_identity(
            session,
            system,
            row.identity_id,
            # None when the identity is erased, and its schedule only has to be settled.
            Offboard(reason=row.reason or "erased", transfer_agents_to=row.transfer_agents_to),
            Precondition(None),
            signer=signer,
            via="schedule",
            on_word_of=requester,
            dry_run=False,
            request_id=None,
        )
    except (Forbidden, Conflict) as refusal:
        # Both checks are made before anything changes.
        await end_schedule(session, system, row, None, because=refusal.code)
