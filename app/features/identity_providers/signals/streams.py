"""Streams of providers: their settings, their recorded state, and the interface to the transmitter's API."""

import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.keys import Sealed, Sealer
from app.features.identity_providers.schemas import SignalsSettings
from app.features.identity_providers.signals import queries
from app.models.identity_providers import IdentityProvider, SignalStream

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


Delivery = Literal["push", "poll"]


@dataclass(frozen=True, slots=True)
class Transmitter:
    """The signer of events. Its keys are at ``jwks_uri``, or at the URL in its configuration."""

    issuer: str
    jwks_uri: str | None = None

    def __str__(self) -> str:
        return self.issuer


@dataclass(frozen=True, slots=True)
class Access:
    """Access of one provider to a transmitter's own API."""

    transmitter: Transmitter
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """The requested stream. ``push_url`` and ``authorization`` (the header) are only for push. ``others`` are the
    streams of other providers there: changing one would take away its events."""

    delivery: Delivery
    events: Sequence[str]
    push_url: str
    audiences: frozenset[str]
    authorization: str | None = field(default=None, repr=False)
    others: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TransmitterStream:
    """A stream at the transmitter. ``poll_url`` is where its events are polled, if they are."""

    id: str
    poll_url: str | None
    status: str


class TransmitterFault(Exception):
    """A transmitter did not carry out a request. ``refused``: it answered with a refusal."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused


class TransmitterApi(Protocol):
    """Stream management of SSF 1.0 section 8. Methods raise ``TransmitterFault``."""

    async def set_stream(
        self, access: Access, stream_id: str | None, wanted: StreamRequest
    ) -> TransmitterStream:
        """Create a stream, or update the existing one."""

    async def delete_stream(self, access: Access, stream_id: str) -> None:
        """Delete a stream; a missing one is no error."""

    async def ask_verification(self, access: Access, stream_id: str, state: str) -> str:
        """Request a verification event with this state; return the status of the stream."""


async def get_transmitter_api(request: Request) -> TransmitterApi:
    api: TransmitterApi = request.app.state.transmitters
    return api


CurrentTransmitters = Annotated[TransmitterApi, Depends(get_transmitter_api)]


UNKNOWN = "unknown"


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
        col(IdentityProvider.status) == "active",
        col(IdentityProvider.ended_at).is_(None),
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
    row = await queries.find_stream(session, provider_id, lock=lock)
    return row if row is not None and row.issuer == issuer else None


async def own_stream(session: AsyncSession, provider_id: UUID, issuer: str) -> SignalStream:
    """Lock the stream of a provider, creating it if necessary."""
    row = await queries.find_stream(session, provider_id, lock=True)
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
