"""``/api/v1/identity-providers``: trusted issuers of access tokens, and their signal streams."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.change import Change
from app.features.identity_providers import schemas, service
from app.features.identity_providers.signals import streams
from app.features.identity_providers.signals.schemas import (
    SignalCredentialPut,
    SignalStreamSet,
    SignalStreamView,
)
from app.features.identity_providers.signals.transmitters import CurrentTransmitters
from app.http.authorization import Caller, Permission, changes, requires
from app.http.etags import IfMatch
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, TransactionalRoute, api_router
from app.lib.ids import IdentityProviderId
from app.models.identity_providers import SignalStream

router = api_router("identity-providers")
stream_router = APIRouter(prefix="/{identity_provider_id}/signals", route_class=TransactionalRoute)
CanRead = Annotated[Caller, requires(Permission.IDENTITY_PROVIDERS_READ)]
CanWrite = Annotated[Change, changes(Permission.IDENTITY_PROVIDERS_WRITE)]
_CHANGED = problem_responses(409)


@router.post("", status_code=201)
async def create_identity_provider(
    body: schemas.IdentityProviderCreate, change: CanWrite, runtime: CurrentRuntime
) -> schemas.IdentityProviderView:
    """Register an OpenID provider. The API accepts its tokens from now on, with the mapped roles."""
    row = await service.create_provider(change, runtime.outbound.policy, body)
    return schemas.IdentityProviderView.from_row(row)


@router.get("")
async def list_identity_providers(
    query: Annotated[schemas.IdentityProviderQuery, Query()],
    caller: CanRead,
    session: Session,
    runtime: CurrentRuntime,
) -> Page[schemas.IdentityProviderView]:
    """List identity providers, newest first."""
    rows, following = await service.list_providers(session, caller, query, runtime)
    return Page(items=[schemas.IdentityProviderView.from_row(row) for row in rows], next_cursor=following)


@router.get("/{identity_provider_id}")
async def get_identity_provider(
    identity_provider_id: IdentityProviderId,
    caller: CanRead,
    session: Session,
    include: Annotated[
        Literal["ended"] | None,
        Query(description="`ended` shows one that has ended too; needs `audit.read`."),
    ] = None,
) -> schemas.IdentityProviderView:
    """Read one identity provider."""
    row = await service.get_provider(session, caller, identity_provider_id, ended=include is not None)
    return schemas.IdentityProviderView.from_row(row)


@router.patch("/{identity_provider_id}", responses=_CHANGED)
async def update_identity_provider(
    identity_provider_id: IdentityProviderId,
    body: schemas.IdentityProviderUpdate,
    change: CanWrite,
    if_match: IfMatch,
    runtime: CurrentRuntime,
) -> schemas.IdentityProviderView:
    """Change an identity provider (merge patch). It takes effect with the next request."""
    policy = runtime.outbound.policy
    row = await service.update_provider(change, policy, identity_provider_id, body, if_match)
    return schemas.IdentityProviderView.from_row(row)


@router.delete("/{identity_provider_id}", status_code=204, responses=_CHANGED)
async def delete_identity_provider(
    identity_provider_id: IdentityProviderId, change: CanWrite, if_match: IfMatch
) -> None:
    """End an identity provider. Sign-in with it stops immediately. Its identities stay."""
    await service.end_provider(change, identity_provider_id, if_match)


async def _managed(
    identity_provider_id: IdentityProviderId,
    change: CanWrite,
    runtime: CurrentRuntime,
    transmitters: CurrentTransmitters,
) -> streams.ManagedStream:
    settings = await _configured(change.session, change.caller, identity_provider_id)
    return streams.ManagedStream(change, settings, runtime.sealer, transmitters)


Managed = Annotated[streams.ManagedStream, Depends(_managed, scope="function")]


@stream_router.get("")
async def get_signal_stream(
    identity_provider_id: IdentityProviderId, caller: CanRead, session: Session, runtime: CurrentRuntime
) -> SignalStreamView:
    """Read the state of a provider's signal stream."""
    settings = await _configured(session, caller, identity_provider_id)
    row = await streams.stream_at(session, settings.provider_id, settings.issuer)
    return _show_stream(runtime, settings, row)


@stream_router.put("/credential", responses=_CHANGED)
async def set_signal_credential(
    body: SignalCredentialPut, managed: Managed, runtime: CurrentRuntime, if_match: IfMatch
) -> SignalStreamView:
    """Store the access token for the transmitter's API. It is sent only to that transmitter, and never shown."""
    row = await streams.set_credential(managed, body.access_token, if_match)
    return _show_stream(runtime, managed.settings, row)


@stream_router.post("/stream", responses=_CHANGED)
async def set_signal_stream(
    body: SignalStreamSet, managed: Managed, runtime: CurrentRuntime, if_match: IfMatch
) -> SignalStreamView:
    """Create the stream at the transmitter, or update it to the settings."""
    row = await streams.set_stream(managed, _push_url(runtime), body.push_secret, if_match)
    return _show_stream(runtime, managed.settings, row)


@stream_router.delete("/stream", status_code=204, responses=_CHANGED)
async def delete_signal_stream(managed: Managed, if_match: IfMatch) -> None:
    """End the stream at the transmitter. Events that it still pushes are accepted while the settings exist."""
    await streams.delete_stream(managed, if_match)


@stream_router.post("/verify", responses=_CHANGED)
async def verify_signal_stream(
    managed: Managed, runtime: CurrentRuntime, if_match: IfMatch
) -> SignalStreamView:
    """Ask the transmitter for a verification event. `verified_at` is set when it arrives."""
    row = await streams.ask_verification(managed, if_match)
    return _show_stream(runtime, managed.settings, row)


async def _configured(
    session: AsyncSession, caller: Caller, provider_id: UUID
) -> streams.TransmitterSettings:
    return streams.require_configured(await service.get_provider(session, caller, provider_id))


def _push_url(runtime: Runtime) -> str:
    return f"{runtime.public_url}{streams.PUSH_PATH}"


def _show_stream(
    runtime: Runtime, settings: streams.TransmitterSettings, row: SignalStream | None
) -> SignalStreamView:
    return SignalStreamView.from_row(settings, _push_url(runtime), row)


router.include_router(stream_router)
