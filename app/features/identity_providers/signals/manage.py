"""Manage a provider's stream at its transmitter. No database connection is held during requests to it."""

import secrets
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.keys import Sealer, UnsealingFault
from app.domain.errors import Conflict, Invalid, NotFound, Unavailable
from app.domain.security_events import REQUESTED
from app.features.audit.record import record
from app.features.identity_providers.signals import queries
from app.features.identity_providers.signals.receive import KIND
from app.features.identity_providers.signals.streams import (
    Access,
    StreamRequest,
    TransmitterApi,
    TransmitterFault,
    TransmitterSettings,
    access_of,
    own_stream,
    place_of,
    stream_at,
    transmitter_settings,
)
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.models.identity_providers import IdentityProvider, SignalStream

PUSH_PATH = "/ssf/events"


@dataclass(frozen=True, slots=True)
class Management:
    """The context of a management request."""

    session: AsyncSession
    sealer: Sealer
    transmitters: TransmitterApi
    caller: Caller
    request_id: str | None


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
    by: Management, transmitter: TransmitterSettings, access_token: SecretStr | None, if_match: Precondition
) -> SignalStream:
    """Store, replace or remove the access token for a transmitter's API. Raises ``PreconditionFailed``, ``Invalid``."""
    row = await own_stream(by.session, transmitter.provider_id, transmitter.issuer)
    if_match.check(row.revision)
    row.key_id = row.sealed = None
    if access_token is not None:
        text = access_token.get_secret_value()
        if not text.isascii() or not text.isprintable() or " " in text:
            raise Invalid.field(
                "/access_token", "not_a_token", "An access token has only visible ASCII characters."
            )
        sealed = by.sealer.seal(text.encode("ascii"), place_of(row))
        row.key_id, row.sealed = sealed.key_id, sealed.data
    changes = {"access_token": access_token is not None}
    return await _record_change(by, row, "signal_credential.set", changes)


async def set_stream(
    by: Management,
    transmitter: TransmitterSettings,
    push_url: str,
    push_secret: SecretStr | None,
    if_match: Precondition,
) -> SignalStream:
    """Create or update the stream at the transmitter from the settings. Raises ``PreconditionFailed``, ``Conflict``,
    ``Unavailable``."""
    row, access = await _require_access(by, transmitter, if_match)
    request = StreamRequest(
        transmitter.delivery,
        REQUESTED,
        push_url,
        transmitter.audiences,
        None if push_secret is None else f"Bearer {push_secret.get_secret_value()}",
        await queries.other_streams(by.session, transmitter.provider_id, transmitter.issuer),
    )
    stream_id = row.stream_id
    # The transaction was needed only for reading.
    await by.session.commit()
    try:
        stream = await by.transmitters.set_stream(access, stream_id, request)
    except TransmitterFault as fault:
        raise _transmitter_error(fault) from None
    row = await own_stream(by.session, transmitter.provider_id, transmitter.issuer)
    row.stream_id, row.status, row.delivery = stream.id, stream.status, transmitter.delivery
    row.poll_url = stream.poll_url
    row.poll_at = None if stream.poll_url is None else func.now()  # type: ignore[assignment]
    row.failures, row.failing_since, row.error = 0, None, None
    changes = {"delivery": transmitter.delivery, "push_secret": push_secret is not None}
    return await _record_change(by, row, "signal_stream.set", changes)


async def delete_stream(by: Management, transmitter: TransmitterSettings, if_match: Precondition) -> None:
    """End the stream at the transmitter. Raises ``PreconditionFailed``, ``Conflict``, ``Unavailable``."""
    row, access = await _require_access(by, transmitter, if_match)
    stream_id = _require_stream_id(row)
    await by.session.commit()
    try:
        await by.transmitters.delete_stream(access, stream_id)
    except TransmitterFault as fault:
        raise _transmitter_error(fault) from None
    row = await own_stream(by.session, transmitter.provider_id, transmitter.issuer)
    row.stream_id = row.poll_url = row.poll_at = row.delivery = row.verification_state = None
    row.status, row.failures, row.failing_since, row.error = "unknown", 0, None, None
    await _record_change(by, row, "signal_stream.delete", {})


async def ask_verification(
    by: Management, transmitter: TransmitterSettings, if_match: Precondition
) -> SignalStream:
    """Ask the transmitter for a verification event. Raises ``PreconditionFailed``, ``Conflict``, ``Unavailable``.

    The state is stored before the request, since the event can arrive before the response.
    """
    row, access = await _require_access(by, transmitter, if_match)
    stream_id, state = _require_stream_id(row), secrets.token_urlsafe(24)
    row = await own_stream(by.session, transmitter.provider_id, transmitter.issuer)
    row.verification_state = state
    row.verification_asked_at = func.now()  # type: ignore[assignment]
    await _record_change(by, row, "signal_stream.verify", {})
    await by.session.commit()
    try:
        status = await by.transmitters.ask_verification(access, stream_id, state)
    except TransmitterFault as fault:
        row = await own_stream(by.session, transmitter.provider_id, transmitter.issuer)
        row.verification_state = None
        await by.session.commit()
        raise _transmitter_error(fault) from None
    row = await own_stream(by.session, transmitter.provider_id, transmitter.issuer)
    row.status = status
    await by.session.flush()
    await by.session.refresh(row)
    return row


async def _require_access(
    by: Management, transmitter: TransmitterSettings, if_match: Precondition
) -> tuple[SignalStream, Access]:
    row = await stream_at(by.session, transmitter.provider_id, transmitter.issuer)
    if_match.check(0 if row is None else row.revision)
    try:
        access = access_of(by.sealer, transmitter, row)
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


async def _record_change(
    by: Management, row: SignalStream, action: str, changes: dict[str, Any]
) -> SignalStream:
    row.revision += 1
    await by.session.flush()
    await by.session.refresh(row)
    await record(
        by.session, by.caller, action, KIND, row.provider_id, changes=changes, request_id=by.request_id
    )
    return row
