"""Taking an event: remembered, carried out and on record in one transaction, so that it is done once or not at all."""

from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import Invalid
from app.domain.security_events import ById, EventType, SecurityEvent
from app.features.audit.record import record
from app.features.identity_providers.signals import queries
from app.features.identity_providers.signals.effects import Acting, Effects, effects_of
from app.features.identity_providers.signals.errors import ErrorCode, Unacceptable
from app.features.identity_providers.signals.streams import note_status, note_verification
from app.http.authorization import Caller
from app.lib.ids import EVENT, format_id, new_id
from app.models.identity_providers import IdentityProvider
from app.models.signals import SignalEvent

KIND = "identity_provider"
_OF_STREAMS = frozenset({EventType.VERIFICATION, EventType.STREAM_UPDATED})


async def receive(
    acting: Acting, provider: IdentityProvider, event: SecurityEvent, critical: frozenset[str]
) -> bool:
    """Take an event whose token has passed every check. The caller commits, and only then says that it was taken.

    A repeat is on record and does nothing: then the answer is False. Raises ``Unacceptable`` for one that cannot be
    carried out, of which nothing is to stay.
    """
    session, known = acting.session, event.known
    first = await queries.remember(session, provider.id, event.issuer, event.jti, event.type, new_id())
    changes: dict[str, Any] = {"event": "unknown" if known is None else known.value}
    if first is not None:
        changes["repeats"] = format_id(EVENT, first)
    elif known in _OF_STREAMS:
        changes |= await _of_stream(session, provider, event)
    else:
        changes |= (await _of_people(acting, provider, event, critical)).shown()
    event_id = await record(
        session,
        acting.caller,
        "signal.received",
        KIND,
        provider.id,
        changes=changes,
        request_id=acting.request_id,
    )
    if first is None:
        await _point(session, provider.id, event, event_id)
    # Last, since others wait for it.
    await queries.note_received(session, provider.id, event.issuer)
    return first is None


async def refuse(
    session: AsyncSession,
    caller: Caller,
    provider_id: UUID | None,
    code: ErrorCode,
    *,
    count: int = 1,
    request_id: str | None = None,
) -> None:
    """Put on record that so many event tokens were not taken, in a transaction of its own. Without a provider: by
    somebody who serves none."""
    await record(
        session,
        caller,
        "signal.refused",
        KIND,
        provider_id,
        request_id=request_id,
        outcome="denied",
        decision="deny",
        reason_code=code,
        event_count=count,
    )
    if code == "invalid_state" and provider_id is not None:
        await queries.note_error(session, provider_id, "verification")


async def _of_people(
    acting: Acting, provider: IdentityProvider, event: SecurityEvent, critical: frozenset[str]
) -> Effects:
    try:
        return await effects_of(acting, provider, event, critical)
    except Invalid as error:
        raise Unacceptable("invalid_request", error.detail) from None


async def _of_stream(
    session: AsyncSession, provider: IdentityProvider, event: SecurityEvent
) -> dict[str, Any]:
    ids = [one.id for one in event.subject.people if isinstance(one, ById)]
    if event.known is EventType.STREAM_UPDATED:
        noted = await note_status(session, provider.id, event.issuer, ids, event.detail or "")
        return {"status": event.detail} if noted else {"ignored": "other_stream"}
    noted = await note_verification(session, provider.id, event.issuer, ids, event.detail)
    return {} if noted else {"ignored": "other_stream"}


async def _point(session: AsyncSession, provider_id: UUID, event: SecurityEvent, event_id: UUID) -> None:
    mine = update(SignalEvent).where(
        col(SignalEvent.provider_id) == provider_id,
        col(SignalEvent.issuer) == event.issuer,
        col(SignalEvent.jti) == event.jti,
    )
    await session.execute(mine.values(event_id=event_id).execution_options(synchronize_session=False))
