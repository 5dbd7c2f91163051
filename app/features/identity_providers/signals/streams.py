"""Streams of providers: their settings, and their recorded state."""

import hmac
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.crypto.keys import Sealed, Sealer, UnsealingFault
from app.db.change import Subject
from app.features.identity_providers.queries import ACTIVE
from app.features.identity_providers.schemas import SignalsSettings
from app.features.identity_providers.signals.transmitters import Access, Delivery, Transmitter
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

ErrorCode = Literal[
    "invalid_request", "invalid_key", "invalid_issuer", "invalid_audience", "authentication_failed",
    "access_denied", "invalid_state",
]  # fmt: skip
"""The error codes of RFC 8935 section 2.4, and of SSF 1.0 (``invalid_state``)."""


class Unacceptable(Exception):
    """An event token that is refused and not stored. ``description`` quotes nothing of it."""

    def __init__(self, code: ErrorCode, description: str) -> None:
        super().__init__(code)
        self.code: ErrorCode = code
        self.description = description


STREAM = Subject("identity_provider")
"""The events of a stream are events of its provider."""


@dataclass(frozen=True, slots=True)
class TransmitterSettings:
    """The transmitter in the settings of a provider."""

    provider_id: UUID
    transmitter: Transmitter
    audiences: frozenset[str]
    algorithms: tuple[str, ...]
    delivery: Delivery

    @property
    def issuer(self) -> str:
        """The ``iss`` of its events."""
        return self.transmitter.issuer


def transmitter_settings(provider: IdentityProvider) -> TransmitterSettings | None:
    """The transmitter in the settings; ``None`` without settings or issuer."""
    stored = provider.settings.get("signals")
    if stored is None:
        return None
    settings = SignalsSettings.model_validate(stored)
    issuer = settings.issuer or provider.issuer
    if issuer is None:
        return None
    return TransmitterSettings(
        provider.id,
        Transmitter(issuer, settings.jwks_uri),
        frozenset(settings.audiences),
        tuple(settings.algorithms),
        settings.delivery,
    )


async def all_transmitter_settings(session: AsyncSession) -> list[TransmitterSettings]:
    """The transmitters of all active providers."""
    query = select(IdentityProvider).where(
        ACTIVE,
        func.jsonb_typeof(col(IdentityProvider.settings)["signals"]) == "object",
    )
    return [
        settings
        for row in await session.scalars(query)
        if (settings := transmitter_settings(row)) is not None
    ]


async def stream_at(
    session: AsyncSession, provider_id: UUID, issuer: str, *, lock: bool = False
) -> SignalStream | None:
    """The stream of a provider at this transmitter; one that remains from another transmitter does not count."""
    row = await find_stream(session, provider_id, lock=lock)
    return row if row is not None and row.issuer == issuer else None


async def own_stream(session: AsyncSession, provider_id: UUID, issuer: str) -> SignalStream:
    """Lock the stream of a provider, creating it if necessary."""
    row = await find_stream(session, provider_id, lock=True)
    if row is not None and row.issuer != issuer:
        await session.delete(row)
        await session.flush()
        row = None
    if row is None:
        row = SignalStream(provider_id=provider_id, issuer=issuer, revision=0)
        session.add(row)
        await session.flush()
        await session.refresh(row)
    return row


def place_of(row: SignalStream) -> bytes:
    """The associated data that binds an encrypted access token to its provider and transmitter."""
    return f"signal-stream {row.id} {row.provider_id} {row.issuer}".encode()


def access_of(sealer: Sealer, transmitter: TransmitterSettings, row: SignalStream | None) -> Access | None:
    """Access to the transmitter's own API with the stored token. Raises ``UnsealingFault``. Never log the result."""
    if row is None or row.sealed is None or row.key_id is None:
        return None
    token = sealer.unseal(Sealed(row.key_id, row.sealed), place_of(row)).decode("ascii")
    return Access(transmitter.transmitter, token)


async def record_verification(
    session: AsyncSession, provider_id: UUID, issuer: str, ids: Collection[str], state: str | None
) -> bool:
    """Record a verification event; return whether it is for this stream. With the requested state it is the answer to
    our request, without one a heartbeat. Raises ``Unacceptable`` for another state."""
    row = await own_stream(session, provider_id, issuer)
    if row.stream_id is not None and row.stream_id not in ids:
        return False
    if state is not None:
        expected = row.verification_state
        if expected is None or not hmac.compare_digest(expected.encode(), state.encode()):
            raise Unacceptable("invalid_state", "Its state is not the requested one.")
        row.verification_state = None
    elif row.verification_state is not None:
        return True
    row.verified_at = func.now()  # type: ignore[assignment]
    row.error = None
    await session.flush()
    return True


async def record_status(
    session: AsyncSession, provider_id: UUID, issuer: str, ids: Collection[str], status: str
) -> bool:
    """Record the stream's status from the transmitter; return whether it is for this stream."""
    row = await own_stream(session, provider_id, issuer)
    if row.stream_id is not None and row.stream_id not in ids:
        return False
    row.status = status
    await session.flush()
    return True


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


async def reseal_access(sessions: async_sessionmaker[AsyncSession], sealer: Sealer) -> tuple[int, int]:
    """Reencrypt every access token with the newest key; return how many, and how many no key can decrypt.

    A token is replaced only if it is unchanged since it was read. There is one for each provider, so they are read at
    once.
    """
    resealed, unopened = 0, 0
    query = select(SignalStream).where(col(SignalStream.key_id) != sealer.current_id)
    async with sessions() as session:
        rows = list(await session.scalars(query))
    for row in rows:
        try:
            contents = sealer.unseal(Sealed(row.key_id or "", row.sealed or b""), place_of(row))
        except UnsealingFault:
            unopened += 1
            continue
        resealed += await _replace(sessions, row, sealer.seal(contents, place_of(row)))
    return resealed, unopened


async def _replace(sessions: async_sessionmaker[AsyncSession], row: SignalStream, sealed: Sealed) -> int:
    statement = (
        update(SignalStream)
        .where(col(SignalStream.id) == row.id, col(SignalStream.sealed) == row.sealed)
        .values(key_id=sealed.key_id, sealed=sealed.data)
        .returning(col(SignalStream.id))
        .execution_options(synchronize_session=False)
    )
    async with sessions() as session:
        changed = (await session.execute(statement)).all()
        await session.commit()
    return len(changed)
