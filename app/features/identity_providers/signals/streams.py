"""The stream of a provider: what its settings say, and what is noted of how it fares."""

import hmac
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.keys import Sealed, Sealer
from app.features.identity_providers.provisioning_schemas import SignalsSettings
from app.features.identity_providers.signals import queries
from app.features.identity_providers.signals.errors import Unacceptable
from app.features.identity_providers.signals.ports import Access, Delivery, Transmitter
from app.models.identity_providers import IdentityProvider
from app.models.signals import SignalStream

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
