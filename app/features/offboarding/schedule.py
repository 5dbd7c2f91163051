"""Scheduled offboardings, at most one per identity, and the task that carries them out when they are due.

Every worker looks, and each offboarding runs once: a worker locks the row until its transaction ends, so a lost worker
leaves it to the next, and what came due while the service was down runs at the next start.
"""

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.signing import Signer
from app.db import rows
from app.db.change import Change, Subject, Values
from app.db.engine import commit, sqlstate
from app.db.jobs import OUTAGES, Periodic
from app.db.rows import Lock
from app.db.webhook_events import Message, WebhookEvent
from app.domain.errors import Conflict, Forbidden, Invalid
from app.features.identities.policy_reads import check_may_transfer
from app.features.identities.role_checks import check_may_change, check_not_self
from app.features.identities.service import lock_existing
from app.features.offboarding import offboard, schemas
from app.features.offboarding.offboard import finish
from app.features.offboarding.queries import claim_due, lock_pending, roles_of_requester
from app.http.authorization import Caller, Role
from app.http.etags import Precondition
from app.http.pagination import Cursors, Page, read_page, select_filtered
from app.http.runtime import Runtime
from app.lib import ids
from app.lib.ids import format_id
from app.lib.logs import log_fault
from app.models.tokens import ScheduledOffboarding

MAX_AHEAD = timedelta(days=366)
"""A year, also a leap year."""
SCHEDULE = Subject(
    "identity",
    audited=("effective_at", "transfer_agents_to"),
    personal=("reason",),
    shown={"transfer_agents_to": lambda id: format_id(ids.IDENTITY, id)},
)
"""A schedule is recorded in events of its identity."""


async def offboard_or_schedule(
    change: Change,
    id: UUID,
    body: schemas.OffboardRequest,
    if_match: Precondition,
    *,
    signer: Signer,
    dry_run: bool = False,
) -> offboard.OffboardOutcome:
    """Offboard now, or schedule it if a future time is given. Raises as both do."""
    at = body.effective_at
    if at is None or at <= change.now:
        return await offboard.offboard_identity(change, id, body, if_match, signer=signer, dry_run=dry_run)
    if at > change.now + MAX_AHEAD:
        latest = (change.now + MAX_AHEAD).isoformat(timespec="seconds")
        raise Invalid.field(
            "/effective_at", "too_late", f"The time is too far ahead: choose one up to {latest}."
        )
    return await _schedule(change, id, body, at, if_match, dry_run=dry_run)


async def _schedule(
    change: Change,
    id: UUID,
    body: schemas.OffboardRequest,
    at: datetime,
    if_match: Precondition,
    *,
    dry_run: bool,
) -> offboard.OffboardOutcome:
    session, pending = change.session, None
    if not dry_run:
        pending = await lock_pending(session, id)
        # So that a concurrent request waits, and moves this schedule.
        await lock_existing(session, id)
        pending = pending or await lock_pending(session, id)
    affected = await offboard.find_people(session, id, body.transfer_agents_to, lock=False)
    identity = affected.identity
    if_match.check(identity.revision)
    if identity.status == "offboarded":
        return await offboard.first_receipt(session, identity, pending)
    await _check_may_schedule(change, id)
    if affected.heir is not None:
        await check_may_transfer(session, change.caller, affected.heir)
    if dry_run:
        return await offboard.preview_offboarding(session, affected, changed=False)
    values = {"effective_at": at, "reason": body.reason, "transfer_agents_to": body.transfer_agents_to}
    row = await _store_schedule(change, id, pending, values)
    return offboard.OffboardOutcome(identity.id, False, scheduled=row)


async def _store_schedule(
    change: Change, identity_id: UUID, pending: ScheduledOffboarding | None, values: dict[str, Any]
) -> ScheduledOffboarding:
    """Create or move the schedule of an identity, with event and message, unless it is unchanged."""
    session, caller = change.session, change.caller
    if pending is not None and all(getattr(pending, name) == value for name, value in values.items()):
        return pending
    row = pending or ScheduledOffboarding(
        identity_id=identity_id, **values, requested_by_kind="", requested_by_id=caller.id
    )
    before = _of_identity(row, SCHEDULE.blank(row) if pending is None else SCHEDULE.values(row))
    for name, value in values.items():
        setattr(row, name, value)
    row.requested_by_kind, row.requested_by_id, row.on_behalf_of = caller.kind, caller.id, caller.identity_id
    if pending is not None:
        row.revision += 1
    session.add(row)
    await session.flush()
    await session.refresh(row)
    after = _of_identity(row, SCHEDULE.values(row))
    event_id = change.record("identity.schedule_offboarding", SCHEDULE, before, after, details=_shown_id(row))
    change.enqueue(
        Message(
            WebhookEvent.IDENTITY_OFFBOARDING_SCHEDULED.value,
            {"identity_id": identity_id, "event_id": event_id},
            {"effective_at": row.effective_at},
        )
    )
    return row


async def list_schedules(
    session: AsyncSession, query: schemas.ScheduledOffboardingQuery, runtime: Runtime
) -> Page[schemas.ScheduledOffboardingView]:
    """Read a page of scheduled and past offboardings."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_scheduled_offboardings", query.filters())
    statement = select_filtered(ScheduledOffboarding, query, "identity_id", "status")
    rows, following = await read_page(session, statement, ScheduledOffboarding, cursors, query)
    return Page(items=[schemas.ScheduledOffboardingView.from_row(row) for row in rows], next_cursor=following)


async def find_schedule(session: AsyncSession, id: UUID) -> ScheduledOffboarding:
    """Read a schedule. Raises ``NotFound``."""
    return rows.existing(await session.get(ScheduledOffboarding, id), "scheduled offboarding")


async def cancel_schedule(change: Change, id: UUID, if_match: Precondition) -> ScheduledOffboarding:
    """Cancel a schedule. Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden``, and ``Conflict`` when it is
    done."""
    row = await rows.lock(change.session, ScheduledOffboarding, id, Lock.UPDATE)
    row = rows.existing(row, "scheduled offboarding")
    if_match.check(row.revision)
    if row.status == "completed":
        raise Conflict(
            "This offboarding has happened; reinstate the identity if it should not have.",
            code="offboarding_already_done",
        )
    if row.status == "pending":
        await _check_may_schedule(change, row.identity_id)
        await _end_schedule(change, row)
    return row


async def _end_schedule(change: Change, row: ScheduledOffboarding, because: str | None = None) -> None:
    """Cancel a locked, pending schedule; ``because`` is the code of the obstacle."""
    await finish(change.session, row, "cancelled")
    same = _of_identity(row, SCHEDULE.values(row))
    details = _shown_id(row) if because is None else _shown_id(row) | {"because": because}
    cancelled = WebhookEvent.IDENTITY_OFFBOARDING_CANCELLED
    change.record("identity.cancel_offboarding", SCHEDULE, same, same, details=details, webhook=cancelled)


def _of_identity(row: ScheduledOffboarding, values: Values) -> Values:
    return Values(row.identity_id, values.columns)


def _shown_id(row: ScheduledOffboarding) -> dict[str, str]:
    return {"schedule_id": format_id(ids.SCHEDULED_OFFBOARDING, row.id)}


async def _check_may_schedule(change: Change, identity_id: UUID) -> None:
    """Raise ``Forbidden`` for the caller's own offboarding, and for one with a higher role.

    Whether it is the last owner's is checked when it is due.
    """
    await check_not_self(change.session, change.caller, identity_id)
    await check_may_change(change.session, change.caller, identity_id)


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
                        _log, f"the scheduled offboarding {format_id(ids.SCHEDULED_OFFBOARDING, id)}", error
                    )
            return True


async def carry_out(session: AsyncSession, signer: Signer, row: ScheduledOffboarding) -> None:
    """Offboard the identity of a locked schedule, as the system, on behalf of the person who scheduled it.

    It is cancelled when the role of that person is no longer sufficient, or the identity is the last active owner.
    """
    system = Caller.system(Role.ADMIN, on_behalf_of=row.on_behalf_of)
    requester = Caller(row.requested_by_kind, row.requested_by_id, await roles_of_requester(session, row))
    # None when the identity is erased, and its schedule only has to be settled.
    body = schemas.Offboard(reason=row.reason or "erased", transfer_agents_to=row.transfer_agents_to)
    change = await Change.begin(session, system)
    try:
        await offboard.offboard_identity(
            change,
            row.identity_id,
            body,
            Precondition(None),
            signer=signer,
            via="schedule",
            on_word_of=requester,
        )
    except (Forbidden, Conflict) as refusal:
        # Both checks are made before anything changes.
        await _end_schedule(change, row, refusal.code)
