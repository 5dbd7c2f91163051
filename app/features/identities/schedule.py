"""Offboardings that are set for later: nothing ends before their time, and one identity has one of them at most."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.signing import Signer
from app.db.outbox import tell
from app.db.webhook_events import WebhookEvent, identity_message
from app.domain.errors import Conflict, Invalid, NotFound
from app.features.audit.record import record
from app.features.identities.affected import find_people, gather
from app.features.identities.offboard import Offboarded, first_receipt, offboard_identity
from app.features.identities.offboard_preview import preview_of
from app.features.identities.offboard_schemas import OffboardedThings, OffboardRequest, TransferredAgents
from app.features.identities.read_by_policies import check_may_transfer
from app.features.identities.schedule_queries import find, finish, lock_pending
from app.features.identities.service import lock_found_identity
from app.features.identities.standing import check_may_change, check_not_self
from app.features.tokens import queries
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.lib.ids import IDENTITY, SCHEDULED_OFFBOARDING, format_id
from app.models.tokens import ScheduledOffboarding

FURTHEST = timedelta(days=366)
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
) -> Offboarded:
    """Offboard at once, or set it for later if a time ahead is asked for. Raises as both do."""
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
    if at > now + FURTHEST:
        latest = (now + FURTHEST).isoformat(timespec="seconds")
        raise Invalid.field(
            "/effective_at", "too_late", f"The time lies too far ahead: choose one up to {latest}."
        )
    return await _set_for_later(
        session, caller, identity_id, body, at, if_match, dry_run=dry_run, request_id=request_id
    )


async def _set_for_later(
    session: AsyncSession,
    caller: Caller,
    identity_id: UUID,
    body: OffboardRequest,
    at: datetime,
    if_match: Precondition,
    *,
    dry_run: bool,
    request_id: str | None,
) -> Offboarded:
    pending = None if dry_run else await lock_pending(session, identity_id)
    if not dry_run:
        # So that one who comes at the same time waits, and moves what is set here.
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
        return Offboarded(identity.id, False, things, transferred, preview=preview)
    wanted = {"effective_at": at, "reason": body.reason, "transfer_agents_to": body.transfer_agents_to}
    row = await _keep(session, caller, identity_id, pending, wanted, request_id)
    nothing = Offboarded(identity.id, False, OffboardedThings.none(), TransferredAgents(to=None, agents=[]))
    return replace(nothing, scheduled=row)


async def _keep(
    session: AsyncSession,
    caller: Caller,
    identity_id: UUID,
    pending: ScheduledOffboarding | None,
    wanted: dict[str, Any],
    request_id: str | None,
) -> ScheduledOffboarding:
    """Make or move the one that an identity has, with its event and message, unless it is so already."""
    before = {name: None if pending is None else getattr(pending, name) for name in _MOVABLE}
    if wanted == before and pending is not None:
        return pending
    row = pending or ScheduledOffboarding(
        identity_id=identity_id,
        effective_at=wanted["effective_at"],
        requested_by_kind="",
        requested_by_id=caller.id,
    )
    for name, value in wanted.items():
        setattr(row, name, value)
    row.requested_by_kind, row.requested_by_id, row.on_behalf_of = caller.kind, caller.id, caller.identity_id
    if pending is not None:
        row.revision += 1
    session.add(row)
    await session.flush()
    await session.refresh(row)
    changes = {"schedule_id": format_id(SCHEDULED_OFFBOARDING, row.id)} | _moved(before, wanted)
    event_id = await record(
        session, caller, "identity.schedule_offboarding", "identity", identity_id,
        changes=changes, request_id=request_id,
    )  # fmt: skip
    await tell(
        session,
        identity_message(
            WebhookEvent.IDENTITY_OFFBOARDING_SCHEDULED, identity_id, event_id, effective_at=row.effective_at
        ),
    )
    return row


async def read_scheduled(session: AsyncSession, id: UUID) -> ScheduledOffboarding:
    """One of them. Raises ``NotFound``."""
    return _found(await find(session, id))


async def cancel_scheduled(
    session: AsyncSession, caller: Caller, id: UUID, if_match: Precondition, request_id: str | None
) -> ScheduledOffboarding:
    """Take it back. Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden``, and ``Conflict`` when it is done."""
    row = _found(await find(session, id, lock=True))
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
    """Cancel a locked one that is pending; ``because`` is the code of what keeps it from being carried out."""
    await finish(session, row, "cancelled")
    changes = {"schedule_id": format_id(SCHEDULED_OFFBOARDING, row.id)}
    if because is not None:
        changes["because"] = because
    event_id = await record(
        session, caller, "identity.cancel_offboarding", "identity", row.identity_id,
        changes=changes, request_id=request_id,
    )  # fmt: skip
    cancelled = WebhookEvent.IDENTITY_OFFBOARDING_CANCELLED
    await tell(session, identity_message(cancelled, row.identity_id, event_id))


def _found(row: ScheduledOffboarding | None) -> ScheduledOffboarding:
    if row is None:
        raise NotFound("There is no such scheduled offboarding.")
    return row


async def _check_may_schedule(session: AsyncSession, caller: Caller, identity_id: UUID) -> None:
    """Raise ``Forbidden`` for the caller's own offboarding, which is up to others, and for one of a higher role.

    Whether it is the last owner's is asked when the time has come.
    """
    await check_not_self(session, caller, identity_id)
    await check_may_change(session, caller, identity_id)


def _moved(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What the event says: without the reason, which people word."""
    shown: dict[str, Any] = {}
    for name in ("effective_at", "transfer_agents_to"):
        if before[name] != after[name]:
            shown[name] = {"from": _show(before[name]), "to": _show(after[name])}
    if before["reason"] != after["reason"]:
        shown["reason"] = {"personal": True}
    return shown


def _show(value: UUID | datetime | None) -> str | None:
    if isinstance(value, datetime):
        return value.isoformat()
    return None if value is None else format_id(IDENTITY, value)
