"""Manage a provider's stream at its transmitter. No database connection is held during requests to it."""

import secrets
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.keys import Sealer, UnsealingFault
from app.db.change import Change, Values
from app.db.engine import commit
from app.domain.errors import Conflict, Invalid, NotFound, Unavailable
from app.domain.security_events import REQUESTED
from app.features.identity_providers.signals.streams import (
    STREAM,
    TransmitterSettings,
    access_of,
    other_streams,
    own_stream,
    place_of,
    stream_at,
    transmitter_settings,
)
from app.features.identity_providers.signals.transmitters import (
    Access,
    StreamRequest,
    TransmitterFault,
    Transmitters,
)
from app.http.etags import Precondition
from app.models.identity_providers import IdentityProvider, SignalStream

PUSH_PATH = "/ssf/events"


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
        REQUESTED,
        push_url,
        settings.audiences,
        None if push_secret is None else f"Bearer {push_secret.get_secret_value()}",
        await other_streams(managed.session, settings.provider_id, settings.issuer),
    )
    stream_id = row.stream_id
    # The transaction was needed only for reading.
    await managed.session.commit()
    try:
        stream = await managed.transmitters.set_stream(access, stream_id, request)
    except TransmitterFault as fault:
        raise _transmitter_error(fault) from None
    row = await managed.lock()
    row.stream_id, row.status, row.delivery = stream.id, stream.status, settings.delivery
    row.poll_url = stream.poll_url
    row.poll_at = None if stream.poll_url is None else func.now()  # type: ignore[assignment]
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
    except TransmitterFault as fault:
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
    except TransmitterFault as fault:
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
    try:
        access = access_of(managed.sealer, settings, row)
    except UnsealingFault:
        access = None
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


def _transmitter_error(fault: TransmitterFault) -> Conflict | Unavailable:
    if fault.refused:
        return Conflict(f"The transmitter refused: {fault.reason}.", code="transmitter_refused")
    return Unavailable(
        f"The transmitter is unavailable: {fault.reason}.",
        retry_after_s=5,
        code="transmitter_unavailable",
    )
