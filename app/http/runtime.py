"""The services that the composition root passes to features: one immutable value on ``app.state.runtime``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.keys import Peppers, Sealer
from app.crypto.signed_notes import NoteSigner
from app.crypto.signing import Signer
from app.db.clock import DatabaseClock
from app.db.recorder_health import RecorderHealth
from app.db.rewinds import RewindGuard
from app.http.authorization import Authenticator
from app.http.live import Live
from app.http.rate_limits import SignInAttempts
from app.http.readiness import LogHorizon, Readiness
from app.http.service_address import OwnAddresses
from app.outbound.client_tokens import ClientTokens
from app.outbound.http import OutboundClient
from app.outbound.stdio import AllowedCommands, SupervisorAddress


@dataclass(frozen=True, slots=True)
class Runtime:
    """Shared, immutable services of one worker."""

    sessions: async_sessionmaker[AsyncSession]
    peppers: Peppers
    sealer: Sealer
    signer: Signer
    """Signs receipts, which people keep as proof."""
    log_signer: NoteSigner
    """Signs checkpoints of the audit log."""
    outbound: OutboundClient
    client_tokens: ClientTokens
    authenticate: Authenticator
    authenticate_machine: Authenticator
    """The same, but also accepts client secrets of service accounts as bearers."""
    attempts: SignInAttempts
    public_url: str
    max_token_ttl: timedelta
    pickup_ttl: timedelta
    """How long a secret can be collected by a pickup link."""
    approval_ttl: timedelta
    """How long an approval can be decided, and then used."""
    time_zone: ZoneInfo
    """The time zone of policies."""
    permits_by_default: bool
    """Whether granted calls are allowed without a policy that permits them."""
    live: Live
    """The live streams."""
    readiness: Readiness
    own_addresses: OwnAddresses = field(default_factory=lambda: OwnAddresses(()))
    """The addresses of this service."""
    clock: DatabaseClock = field(default_factory=DatabaseClock)
    """The estimated time of the database, for requests that do not read it."""
    horizon: LogHorizon = field(default_factory=LogHorizon)
    recorder_health: RecorderHealth = field(default_factory=RecorderHealth)
    """The state of the lane that records most calls."""
    consuming_recorder_health: RecorderHealth = field(default_factory=RecorderHealth)
    """The state of the lane that records calls with quotas."""
    commands: AllowedCommands = field(default_factory=AllowedCommands)
    """The command lines that servers may use."""
    supervisor: SupervisorAddress | None = None
    """The supervisor that runs commands, if any."""
    rewinds: RewindGuard = field(default_factory=RewindGuard)
    """The known progress of the database."""
    warnings: list[Callable[[], Sequence[str]]] = field(default_factory=list)
    """The sources of warnings for the operator, for ``/readyz``."""


def from_state(name: str) -> Any:
    """A dependency: the object of this name on ``app.state``."""

    async def get(request: Request) -> Any:
        return getattr(request.app.state, name)

    return Depends(get)


CurrentRuntime = Annotated[Runtime, from_state("runtime")]
