"""Queries of received events and of the state of streams."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.lib.ids import new_id
from app.models.identity_providers import IdentityProvider, SignalEvent, SignalStream

_RECEIVED = text("""
INSERT INTO signal_streams (id, provider_id, issuer, received_at) VALUES (:id, :provider, :issuer, now())
ON CONFLICT (provider_id) DO UPDATE SET received_at = now()
WHERE signal_streams.received_at IS NULL OR signal_streams.received_at < now() - interval '1 second'
""")
_CLAIM = text("""
UPDATE signal_streams SET poll_at = now() + :held WHERE id = (
    SELECT s.id FROM signal_streams s JOIN identity_providers p ON p.id = s.provider_id
    WHERE s.poll_at <= now() AND s.poll_url IS NOT NULL AND s.delivery = 'poll'
        AND p.status = 'active' AND p.ended_at IS NULL AND p.settings -> 'signals' ->> 'delivery' = 'poll'
    ORDER BY s.poll_at LIMIT 1 FOR UPDATE OF s SKIP LOCKED
)
RETURNING provider_id
""")
# If the stream is requested again in between, that has set the time itself.
_HOLD = text(
    "UPDATE signal_streams SET poll_at = now() + :held WHERE provider_id = :provider AND poll_at > now()"
)
_POLLED = text("""
UPDATE signal_streams SET polled_at = now(), poll_at = now() + :pause, failures = 0, failing_since = NULL,
    error = CASE WHEN error = 'verification' THEN error END
WHERE provider_id = :provider AND poll_at IS NOT NULL
""")
_FAILED = text("""
UPDATE signal_streams SET failures = failures + 1, failing_since = coalesce(failing_since, now()), error = :error,
    poll_at = now() + least(CAST(:pause AS interval) * 2 ^ least(failures, 10), CAST(:most AS interval))
WHERE provider_id = :provider AND poll_at IS NOT NULL
""")
_ERROR = text("UPDATE signal_streams SET error = :error WHERE provider_id = :provider")


async def record_event(
    session: AsyncSession, provider_id: UUID, issuer: str, jti: str, event_type: str, event_id: UUID
) -> UUID | None:
    """Record a received event; return ``None`` the first time, else the audit event of the first.

    Of concurrent copies one continues, and the others wait until it has committed or failed.
    """
    row = {"provider_id": provider_id, "issuer": issuer, "jti": jti, "event_type": event_type}
    statement = insert(SignalEvent).values(**row, event_id=event_id).on_conflict_do_nothing()
    if (await session.execute(statement.returning(col(SignalEvent.event_id)))).first() is not None:
        return None
    first = select(col(SignalEvent.event_id)).where(
        col(SignalEvent.provider_id) == provider_id,
        col(SignalEvent.issuer) == issuer,
        col(SignalEvent.jti) == jti,
    )
    return (await session.execute(first)).scalar_one()


async def database_now(session: AsyncSession) -> datetime:
    """The database's clock."""
    now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return now


async def find_stream(session: AsyncSession, provider_id: UUID, *, lock: bool = False) -> SignalStream | None:
    """Find the stream of a provider, locked for a change on demand."""
    query = select(SignalStream).where(col(SignalStream.provider_id) == provider_id)
    if lock:
        query = query.with_for_update()
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def other_streams(session: AsyncSession, provider_id: UUID, issuer: str) -> frozenset[str]:
    """The ids of the streams that other providers have at a transmitter."""
    query = (
        select(col(SignalStream.stream_id))
        .join(IdentityProvider, col(IdentityProvider.id) == col(SignalStream.provider_id))
        .where(
            col(SignalStream.issuer) == issuer,
            col(SignalStream.provider_id) != provider_id,
            col(IdentityProvider.ended_at).is_(None),
        )
    )
    return frozenset(id for id in await session.scalars(query) if id is not None)


async def record_received(session: AsyncSession, provider_id: UUID, issuer: str) -> None:
    """Record the time of an event: at most once a second, so that events do not wait for each other."""
    await session.execute(_RECEIVED, {"id": new_id(), "provider": provider_id, "issuer": issuer})


async def claim_poll(session: AsyncSession, duration: timedelta) -> UUID | None:
    """Claim the longest due stream of an active provider for this time; return the provider's id."""
    provider_id: UUID | None = (await session.execute(_CLAIM, {"held": duration})).scalar_one_or_none()
    return provider_id


async def extend_poll(session: AsyncSession, provider_id: UUID, duration: timedelta) -> None:
    """Extend the claim on a stream."""
    await session.execute(_HOLD, {"provider": provider_id, "held": duration})


async def record_polled(session: AsyncSession, provider_id: UUID, pause: timedelta) -> None:
    """Record a successful poll; the next one is after the pause."""
    await session.execute(_POLLED, {"provider": provider_id, "pause": pause})


async def record_failure(
    session: AsyncSession, provider_id: UUID, error: str, pause: timedelta, max_pause: timedelta
) -> None:
    """Record a failed poll: the pause doubles with each failure in a row, up to ``max_pause``."""
    values = {"provider": provider_id, "error": error, "pause": pause, "most": max_pause}
    await session.execute(_FAILED, values)


async def record_error(session: AsyncSession, provider_id: UUID, error: str) -> None:
    """Record an error of the stream."""
    await session.execute(_ERROR, {"provider": provider_id, "error": error})
