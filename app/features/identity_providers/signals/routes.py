"""``/api/v1/identity-providers/{id}/signals``: read and manage the stream of a provider."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.identity_providers import service as providers
from app.features.identity_providers.signals import manage
from app.features.identity_providers.signals.schemas import (
    SignalCredentialPut,
    SignalStreamSet,
    SignalStreamView,
)
from app.features.identity_providers.signals.streams import (
    CurrentTransmitters,
    TransmitterSettings,
    stream_at,
)
from app.http.authorization import Caller, Permission, requires
from app.http.etags import IfMatch, set_etag
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import IdentityProviderId
from app.models.identity_providers import SignalStream

router = APIRouter(
    prefix="/api/v1/identity-providers/{identity_provider_id}/signals",
    tags=["identity-providers"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS,
)
Writer = Annotated[Caller, requires(Permission.IDENTITY_PROVIDERS_WRITE)]
_CHANGED = problem_responses(409, 412)


async def _managing(
    caller: Writer,
    session: Session,
    runtime: CurrentRuntime,
    transmitters: CurrentTransmitters,
    request: Request,
) -> manage.Management:
    return manage.Management(session, runtime.sealer, transmitters, caller, request.state.request_id)


Managing = Annotated[manage.Management, Depends(_managing, scope="function")]


@router.get(
    "",
    operation_id="get_signal_stream",
    dependencies=[requires(Permission.IDENTITY_PROVIDERS_READ)],
)
async def get_signal_stream(
    identity_provider_id: IdentityProviderId, session: Session, runtime: CurrentRuntime, response: Response
) -> SignalStreamView:
    """Read the state of a provider's signal stream."""
    transmitter = await _configured(session, identity_provider_id)
    row = await stream_at(session, transmitter.provider_id, transmitter.issuer)
    return _shown(response, runtime, transmitter, row)


@router.put("/credential", operation_id="set_signal_credential", responses=_CHANGED)
async def set_signal_credential(
    identity_provider_id: IdentityProviderId,
    body: SignalCredentialPut,
    by: Managing,
    runtime: CurrentRuntime,
    if_match: IfMatch,
    response: Response,
) -> SignalStreamView:
    """Store the access token for the transmitter's API. It is sent only to that transmitter, and never shown."""
    transmitter = await _configured(by.session, identity_provider_id)
    row = await manage.set_credential(by, transmitter, body.access_token, if_match)
    return _shown(response, runtime, transmitter, row)


@router.post("/stream", operation_id="set_signal_stream", responses=_CHANGED)
async def set_signal_stream(
    identity_provider_id: IdentityProviderId,
    body: SignalStreamSet,
    by: Managing,
    runtime: CurrentRuntime,
    if_match: IfMatch,
    response: Response,
) -> SignalStreamView:
    """Create the stream at the transmitter, or update it to the settings."""
    transmitter = await _configured(by.session, identity_provider_id)
    row = await manage.set_stream(by, transmitter, _push_url(runtime), body.push_secret, if_match)
    return _shown(response, runtime, transmitter, row)


@router.delete("/stream", operation_id="delete_signal_stream", status_code=204, responses=_CHANGED)
async def delete_signal_stream(
    identity_provider_id: IdentityProviderId, by: Managing, if_match: IfMatch
) -> None:
    """End the stream at the transmitter. Events that it still pushes are accepted while the settings exist."""
    await manage.delete_stream(by, await _configured(by.session, identity_provider_id), if_match)


@router.post("/verify", operation_id="verify_signal_stream", responses=_CHANGED)
async def verify_signal_stream(
    identity_provider_id: IdentityProviderId,
    by: Managing,
    runtime: CurrentRuntime,
    if_match: IfMatch,
    response: Response,
) -> SignalStreamView:
    """Ask the transmitter for a verification event. `verified_at` is set when it arrives."""
    transmitter = await _configured(by.session, identity_provider_id)
    row = await manage.ask_verification(by, transmitter, if_match)
    return _shown(response, runtime, transmitter, row)


async def _configured(session: AsyncSession, provider_id: UUID) -> TransmitterSettings:
    return manage.require_configured(await providers.require(session, provider_id))


def _push_url(runtime: Runtime) -> str:
    return f"{runtime.public_url}{manage.PUSH_PATH}"


def _shown(
    response: Response, runtime: Runtime, transmitter: TransmitterSettings, row: SignalStream | None
) -> SignalStreamView:
    set_etag(response, 0 if row is None else row.revision)
    return SignalStreamView.from_row(transmitter, _push_url(runtime), row)
