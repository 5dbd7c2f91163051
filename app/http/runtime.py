"""What the composition root hands to features: one frozen value on ``app.state.runtime``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.keys import Peppers, Sealer
from app.crypto.signed_notes import NoteSigner
from app.crypto.signing import Signer
from app.db.recorder_health import Trouble
from app.db.rewinds import RewindGuard
from app.http.authorization import Authenticator
from app.http.live import Live
from app.http.rate_limits import SignInAttempts
from app.http.readiness import LogHorizon, Readiness
from app.http.service_address import OwnAddresses
from app.lib.clock import Clock, utc_now
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
    """Of what people keep as proof."""
    trail_signer: NoteSigner
    """Of checkpoints of the trail."""
    outbound: OutboundClient
    client_tokens: ClientTokens
    authenticate: Authenticator
    authenticate_machine: Authenticator
    """The same, and takes the client secret of a service account as a bearer too."""
    attempts: SignInAttempts
    public_url: str
    max_token_ttl: timedelta
    pickup_ttl: timedelta
    """How long a secret waits behind a pickup link for its recipient."""
    approval_ttl: timedelta
    """How long an approval can be decided, and from then on used."""
    time_zone: ZoneInfo
    """In which policies tell the time."""
    permits_by_default: bool
    """Whether what is granted is allowed where no policy says so."""
    live: Live
    """Streams that tell of changes as they happen."""
    readiness: Readiness
    own_addresses: OwnAddresses = field(default_factory=lambda: OwnAddresses(()))
    """Where this service is reached itself."""
    clock: Clock = field(default=utc_now)
    horizon: LogHorizon = field(default_factory=LogHorizon)
    trouble: Trouble = field(default_factory=Trouble)
    """Of the lane that records most calls."""
    settling: Trouble = field(default_factory=Trouble)
    """Of the lane that records calls which use something up."""
    commands: AllowedCommands = field(default_factory=AllowedCommands)
    """The command lines that servers may be."""
    supervisor: SupervisorAddress | None = None
    """Where commands run, if they do."""
    rewinds: RewindGuard = field(default_factory=RewindGuard)
    """What the worker knows of the database's progress."""
    warnings: Callable[[], Sequence[str]] = tuple
    """What whoever runs this worker should know, for ``/readyz``."""


async def get_runtime(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


CurrentRuntime = Annotated[Runtime, Depends(get_runtime)]
