"""Streams of providers: their settings, their recorded state, and their management at the transmitter.

No database connection is held during requests to a transmitter.
"""

import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import Select, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.crypto.jwt import ProviderFault
from app.crypto.keys import Sealed, Sealer, UnsealingFault
from app.db import resealing
from app.db.change import Change, Subject, Values
from app.db.engine import commit
from app.domain.errors import Conflict, Invalid, NotFound, Unavailable
from app.features.identity_providers.queries import ACTIVE
from app.features.identity_providers.schemas import SignalsSettings
from app.features.identity_providers.signals.transmitters import (
    Access,
    Delivery,
    StreamRequest,
    Transmitter,
    Transmitters,
)
from app.http.etags import Precondition
from app.lib.ids import new_id
from app.models.identity_providers import IdentityProvider, SignalEvent, SignalStream

PUSH_PATH = "/ssf/events"
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
        ACTIVE, func.jsonb_typeof(col(IdentityProvider.settings)["signals"]) == "object"
    )
    return [
        settings
        for row in await session.scalars(query)
        if (settings := transmitter_settings(row)) is not None
    ]


async def stream_at(session: AsyncSession, provider_id: UUID, issuer: str) -> SignalStream | None:
    """The stream of a provider at this transmitter; one that remains from another transmitter does not count."""
    row: SignalStream | None = await session.scalar(_of_provider(provider_id))
    return row if row is not None and row.issuer == issuer else None


async def own_stream(session: AsyncSession, provider_id: UUID, issuer: str) -> SignalStream:
    """Lock the stream of a provider, creating it if necessary."""
    row: SignalStream | None = await session.scalar(_of_provider(provider_id).with_for_update())
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


def access_of(sealer: Sealer, settings: TransmitterSettings, row: SignalStream | None) -> Access | None:
    """Access to the transmitter's own API, if there is a stored token that a key decrypts. Never log the result."""
    if row is None or row.sealed is None or row.key_id is None:
        return None
    try:
        token = sealer.unseal(Sealed(row.key_id, row.sealed), place_of(row)).decode("ascii")
    except UnsealingFault:
        return None
    return Access(settings.transmitter, token)


async def record_verification(
    session: AsyncSession, provider_id: UUID, issuer: str, ids: Collection[str], state: str | None
) -> bool:
    """Record a verification event; return whether it is for this stream. With the requested state it is the answer to
    our request, without one a heartbeat. Raises ``Unacceptable`` for another state."""
    row = await _named_stream(session, provider_id, issuer, ids)
    if row is None:
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
    row = await _named_stream(session, provider_id, issuer, ids)
    if row is not None:
        row.status = status
        await session.flush()
    return row is not None


async def _named_stream(
    session: AsyncSession, provider_id: UUID, issuer: str, ids: Collection[str]
) -> SignalStream | None:
    """Lock the stream of a provider if it has one of these ids, or none yet."""
    row = await own_stream(session, provider_id, issuer)
    return row if row.stream_id is None or row.stream_id in ids else None


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


def _of_provider(provider_id: UUID) -> Select[SignalStream]:
    query = select(SignalStream).where(col(SignalStream.provider_id) == provider_id)
    return query.execution_options(populate_existing=True)


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
    """Reencrypt every access token with the newest key; return how many, and how many no key can decrypt."""
    return await resealing.reseal(sessions, sealer, SignalStream, place_of)


@dataclass(frozen=True, slots=True)
class ManagedStream:
    """A stream to change: the configured transmitter, and access to its API."""

    change: Change
    settings: TransmitterSettings
    sealer: Sealer
    transmitters: Transmitters

    @property
    def session(self) -> AsyncSession:
        """The session of the change."""
        return self.change.session

    async def lock(self) -> SignalStream:
        """Lock the stream, creating it if necessary."""
        return await own_stream(self.session, self.settings.provider_id, self.settings.issuer)

    async def record(self, row: SignalStream, action: str, **details: Any) -> SignalStream:
        """Record a change of the locked stream."""
        row.revision += 1
        await self.session.flush()
        await self.session.refresh(row)
        self.change.record(action, STREAM, Values(row.provider_id, {}), details=details)
        return row


def require_configured(provider: IdentityProvider) -> TransmitterSettings:
    """The signals settings of a provider. Raises ``NotFound`` if there are none."""
    transmitter = transmitter_settings(provider)
    if transmitter is None:
        raise NotFound(
            "This provider has no signals: set its signals settings first, with an issuer.",
            code="signals_not_configured",
        )
    return transmitter


async def set_credential(
    managed: ManagedStream, access_token: SecretStr | None, if_match: Precondition
) -> SignalStream:
    """Store, replace or remove the access token for a transmitter's API. Raises ``PreconditionFailed``, ``Invalid``."""
    row = await managed.lock()
    if_match.check(row.revision)
    row.key_id = row.sealed = None
    if access_token is not None:
        text = access_token.get_secret_value()
        if not text.isascii() or not text.isprintable() or " " in text:
            raise Invalid.field(
                "/access_token", "not_a_token", "An access token has only visible ASCII characters."
            )
        sealed = managed.sealer.seal(text.encode("ascii"), place_of(row))
        row.key_id, row.sealed = sealed.key_id, sealed.data
    return await managed.record(row, "signal_credential.set", access_token=access_token is not None)


async def set_stream(
    managed: ManagedStream, push_url: str, push_secret: SecretStr | None, if_match: Precondition
) -> SignalStream:
    """Create or update the stream at the transmitter from the settings. Raises ``PreconditionFailed``, ``Conflict``,
    ``Unavailable``."""
    row, access = await _require_access(managed, if_match)
    settings = managed.settings
    request = StreamRequest(
        settings.delivery,
        push_url,
        settings.audiences,
        None if push_secret is None else f"Bearer {push_secret.get_secret_value()}",
        await other_streams(managed.session, settings.provider_id, settings.issuer),
    )
    stream_id = row.stream_id
    # The transaction was needed only for reading.
    await managed.session.commit()
    try:
        setup = await managed.transmitters.set_stream(access, stream_id, request)
    except ProviderFault as fault:
        raise _transmitter_error(fault) from None
    row = await managed.lock()
    row.stream_id, row.poll_url, row.status = setup.id, setup.poll_url, setup.status
    row.delivery = settings.delivery
    row.poll_at = None if row.poll_url is None else func.now()  # type: ignore[assignment]
    row.failures, row.failing_since, row.error = 0, None, None
    return await managed.record(
        row, "signal_stream.set", delivery=settings.delivery, push_secret=push_secret is not None
    )


async def delete_stream(managed: ManagedStream, if_match: Precondition) -> None:
    """End the stream at the transmitter. Raises ``PreconditionFailed``, ``Conflict``, ``Unavailable``."""
    row, access = await _require_access(managed, if_match)
    stream_id = _require_stream_id(row)
    await managed.session.commit()
    try:
        await managed.transmitters.delete_stream(access, stream_id)
    except ProviderFault as fault:
        raise _transmitter_error(fault) from None
    row = await managed.lock()
    row.stream_id = row.poll_url = row.poll_at = row.delivery = row.verification_state = None
    row.status, row.failures, row.failing_since, row.error = "unknown", 0, None, None
    await managed.record(row, "signal_stream.delete")


async def ask_verification(managed: ManagedStream, if_match: Precondition) -> SignalStream:
    """Ask the transmitter for a verification event. Raises ``PreconditionFailed``, ``Conflict``, ``Unavailable``.

    The state is stored before the request, since the event can arrive before the response.
    """
    row, access = await _require_access(managed, if_match)
    stream_id, state = _require_stream_id(row), secrets.token_urlsafe(24)
    row = await managed.lock()
    row.verification_state = state
    row.verification_asked_at = func.now()  # type: ignore[assignment]
    await managed.record(row, "signal_stream.verify")
    await commit(managed.session)
    try:
        status = await managed.transmitters.ask_verification(access, stream_id, state)
    except ProviderFault as fault:
        row = await managed.lock()
        row.verification_state = None
        await managed.session.commit()
        raise _transmitter_error(fault) from None
    row = await managed.lock()
    row.status = status
    await managed.session.flush()
    await managed.session.refresh(row)
    return row


async def _require_access(managed: ManagedStream, if_match: Precondition) -> tuple[SignalStream, Access]:
    settings = managed.settings
    row = await stream_at(managed.session, settings.provider_id, settings.issuer)
    if_match.check(0 if row is None else row.revision)
    access = access_of(managed.sealer, settings, row)
    if row is None or access is None:
        raise Conflict(
            "There is no usable access token for the transmitter's API: set the credential first.",
            code="signal_credential_missing",
        )
    return row, access


def _require_stream_id(row: SignalStream) -> str:
    if row.stream_id is None:
        raise Conflict(
            "There is no stream at the transmitter: create it first.", code="signal_stream_missing"
        )
    return row.stream_id


def _transmitter_error(fault: ProviderFault) -> Conflict | Unavailable:
    if fault.refused:
        return Conflict(f"The transmitter refused: {fault.reason}.", code="transmitter_refused")
    return Unavailable(
        f"The transmitter is unavailable: {fault.reason}.", retry_after_s=5, code="transmitter_unavailable"
    )
