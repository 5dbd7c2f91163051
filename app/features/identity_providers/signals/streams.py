"""The stream of a provider: what its settings say, and what is noted of how it fares.

What is wrong with an event token, in the terms that transmitters are answered in.

What passes between signals and the protocol that transmitters speak.
"""

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
from app.models.identity_providers import IdentityProvider
from app.models.signals import SignalStream

ErrorCode = Literal[
    "invalid_request", "invalid_key", "invalid_issuer", "invalid_audience", "authentication_failed",
    "access_denied", "invalid_state",
]  # fmt: skip
"""Of RFC 8935 section 2.4, and SSF 1.0 (``invalid_state``)."""


class Unacceptable(Exception):
    """An event token that is not taken, and is not remembered. ``description`` quotes nothing of it."""

    def __init__(self, code: ErrorCode, description: str) -> None:
        super().__init__(code)
        self.code: ErrorCode = code
        self.description = description


Delivery = Literal["push", "poll"]


@dataclass(frozen=True, slots=True)
class Transmitter:
    """Who signs events, and where their keys are: at ``jwks_uri``, or where their configuration says."""

    issuer: str
    jwks_uri: str | None = None

    def __str__(self) -> str:
        return self.issuer


@dataclass(frozen=True, slots=True)
class Access:
    """A transmitter's own API as one provider may use it."""

    transmitter: Transmitter
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WantedStream:
    """What a transmitter is asked for. ``push_url`` and ``authorization`` (of the header) are for push alone.
    ``others`` are the streams there that other providers have: whoever asked for their events would take them away."""

    delivery: Delivery
    events: Sequence[str]
    push_url: str
    audiences: frozenset[str]
    authorization: str | None = field(default=None, repr=False)
    others: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MadeStream:
    """A stream as the transmitter has it. ``poll_url`` is where its events wait, if it is polled."""

    id: str
    poll_url: str | None
    status: str


class TransmitterFault(Exception):
    """A transmitter did not do what it was asked for. ``refused``: it answered, and would not."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused


class TransmitterApi(Protocol):
    """The stream management of SSF 1.0 section 8. Each raises ``TransmitterFault``."""

    async def set_stream(self, access: Access, stream_id: str | None, wanted: WantedStream) -> MadeStream:
        """Make a stream, or bring the one that is there to what is wanted."""

    async def delete_stream(self, access: Access, stream_id: str) -> None:
        """End a stream; one that is gone already is no fault."""

    async def ask_verification(self, access: Access, stream_id: str, state: str) -> str:
        """Have a verification event with this state sent; the status of the stream."""


async def get_transmitter_api(request: Request) -> TransmitterApi:
    api: TransmitterApi = request.app.state.transmitters
    return api


CurrentTransmitters = Annotated[TransmitterApi, Depends(get_transmitter_api)]


UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Configured:
    """What the settings of a provider say of its transmitter."""

    provider_id: UUID
    transmitter: Transmitter
    audiences: frozenset[str]
    algorithms: tuple[str, ...]
    delivery: Delivery

    @property
    def issuer(self) -> str:
        """The ``iss`` of its events."""
        return self.transmitter.issuer


def configured(provider: IdentityProvider) -> Configured | None:
    """What the settings say; ``None`` where there are none, or no issuer."""
    stored = provider.settings.get("signals")
    if stored is None:
        return None
    settings = SignalsSettings.model_validate(stored)
    issuer = settings.issuer or provider.issuer
    if issuer is None:
        return None
    return Configured(
        provider.id,
        Transmitter(issuer, settings.jwks_uri),
        frozenset(settings.audiences),
        tuple(settings.algorithms),
        settings.delivery,
    )


async def all_configured(session: AsyncSession) -> list[Configured]:
    """Those of all active providers."""
    query = select(IdentityProvider).where(
        col(IdentityProvider.status) == "active",
        col(IdentityProvider.ended_at).is_(None),
        func.jsonb_typeof(col(IdentityProvider.settings)["signals"]) == "object",
    )
    return [found for row in await session.scalars(query) if (found := configured(row)) is not None]


async def stream_at(
    session: AsyncSession, provider_id: UUID, issuer: str, *, lock: bool = False
) -> SignalStream | None:
    """The stream of a provider at this transmitter; one that is left of another transmitter is not it."""
    row = await queries.find_stream(session, provider_id, lock=lock)
    return row if row is not None and row.issuer == issuer else None


async def own_stream(session: AsyncSession, provider_id: UUID, issuer: str) -> SignalStream:
    """The same, locked, and made where there is none."""
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
    """The associated data that binds a sealed access token to its provider and transmitter."""
    return f"signal-stream {row.id} {row.provider_id} {row.issuer}".encode()


def access_of(sealer: Sealer, found: Configured, row: SignalStream | None) -> Access | None:
    """The transmitter's own API with the stored access token. Raises ``UnsealingFault``. Never log the answer."""
    if row is None or row.sealed is None or row.key_id is None:
        return None
    token = sealer.unseal(Sealed(row.key_id, row.sealed), place_of(row)).decode("ascii")
    return Access(found.transmitter, token)


async def note_verification(
    session: AsyncSession, provider_id: UUID, issuer: str, ids: Collection[str], state: str | None
) -> bool:
    """A verification event came: the answer to ours if it has the state that we asked with, else just a sign of life
    of the transmitter's own. Whether it is of this stream. Raises ``Unacceptable`` for another state.
    """
    row = await own_stream(session, provider_id, issuer)
    if row.stream_id is not None and row.stream_id not in ids:
        return False
    if state is not None:
        asked = row.verification_state
        if asked is None or not hmac.compare_digest(asked.encode(), state.encode()):
            raise Unacceptable("invalid_state", "Its state is not the one that was asked for.")
        row.verification_state = None
    elif row.verification_state is not None:
        return True
    row.verified_at = func.now()  # type: ignore[assignment]
    row.error = None
    await session.flush()
    return True


async def note_status(
    session: AsyncSession, provider_id: UUID, issuer: str, ids: Collection[str], status: str
) -> bool:
    """The transmitter says how the stream is. Whether it is of this stream."""
    row = await own_stream(session, provider_id, issuer)
    if row.stream_id is not None and row.stream_id not in ids:
        return False
    row.status = status
    await session.flush()
    return True
