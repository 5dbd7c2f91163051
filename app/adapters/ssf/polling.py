"""Polling for events (RFC 8936). Every worker looks for due streams; a lease lets one worker poll a transmitter.

Events are acknowledged after they are committed, so that another worker receives them again if this one fails.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.adapters.ssf.push_routes import Receiver
from app.crypto.jwt import ProviderFault
from app.crypto.keys import Sealer
from app.crypto.signing import Signer
from app.db.change import Change
from app.db.clock import current_time
from app.db.engine import ATTEMPTS, commit, sqlstate
from app.db.jobs import OUTAGES, repeat
from app.domain.errors import Unavailable
from app.features.identity_providers import queries as providers
from app.features.identity_providers.signals import streams
from app.features.identity_providers.signals.receive import receive
from app.features.identity_providers.signals.transmitters import Access
from app.http.authorization import Caller, Role
from app.lib.ids import IDENTITY_PROVIDER, format_id, new_id
from app.lib.logs import log_fault
from app.lib.strict_json import JsonObject

SYSTEM = Caller.system(Role.ADMIN)
POLL_EVERY = timedelta(seconds=5)
"""The pause between two polls of a transmitter; doubled after each consecutive failure, up to ``MAX_PAUSE``."""
MAX_PAUSE = timedelta(minutes=5)
_MAX_PAUSE_WITH_LEFT = timedelta(seconds=30)
"""The maximum pause after an event that could not be processed, so that later events are not delayed."""
MAX_EVENTS = 25
"""The number of events that a poll asks for."""
_MAX_ROUNDS = 40
_MAX_CONCURRENT_POLLS = 4
_LOOK_EVERY_S = 1.0
_UPKEEP_EVERY_S = 5.0
# Longer than one poll and processing its events.
_LEASE = timedelta(seconds=60)
_COLLISIONS = {"40001", "40P01"}
_log = logging.getLogger(__name__)


class Failed(Exception):
    """A failed poll; ``error`` is shown with the stream, ``max_pause`` limits the pause after it."""

    def __init__(self, error: str, max_pause: timedelta = MAX_PAUSE) -> None:
        super().__init__(error)
        self.error = error
        self.max_pause = max_pause


@dataclass(slots=True)
class _PollResult:
    """The events of a poll: processed, refused with the reason, or left for a later poll; whether any is new."""

    taken: list[str] = field(default_factory=list)
    refused: dict[str, JsonObject] = field(default_factory=dict)
    left: int = 0
    new: bool = False


class Polling:
    """Polls for events in one worker, and maintains keys and counts of refused events."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], sealer: Sealer, signer: Signer, receiver: Receiver
    ) -> None:
        self._sessions = sessions
        self._sealer = sealer
        self._signer = signer
        self._receiver = receiver
        self._polling: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Poll until cancelled; another worker then receives unfinished events again.

        Maintenance runs concurrently, so that slow keys of one transmitter do not delay the others.
        """
        try:
            await asyncio.gather(
                repeat("looking for events", self.look, _LOOK_EVERY_S, first_s=0),
                repeat("the upkeep of signals", self.upkeep, _UPKEEP_EVERY_S, first_s=0),
            )
        finally:
            for task in self._polling:
                task.cancel()
            await asyncio.gather(*self._polling, return_exceptions=True)
            with suppress(Exception):
                await self._receiver.refused.flush(all=True)

    async def upkeep(self) -> None:
        """Refresh keys, and record refused events of past minutes."""
        async with self._sessions() as session:
            listed = await streams.all_transmitter_settings(session)
        transmitters = {settings.transmitter for settings in listed}
        await self._receiver.keys.keep_fresh(transmitters)
        self._receiver.transmitters.forget(transmitters)
        await self._receiver.refused.flush()

    async def look(self) -> None:
        """Start due polls, up to the maximum."""
        while len(self._polling) < _MAX_CONCURRENT_POLLS:
            async with self._sessions() as session:
                provider_id = await streams.claim_poll(session, _LEASE)
                await session.commit()
            if provider_id is None:
                return
            task = asyncio.create_task(self.poll(provider_id), name="poll for events")
            self._polling.add(task)
            task.add_done_callback(self._polling.discard)

    async def idle(self) -> None:
        """Wait until no poll is running."""
        while self._polling:
            await asyncio.wait(self._polling)

    async def poll(self, provider_id: UUID) -> None:
        """Poll one transmitter for all pending events, and store the result."""
        error, max_pause = None, MAX_PAUSE
        try:
            await self._poll(provider_id)
        except Failed as failed:
            error, max_pause = failed.error, failed.max_pause
        except OUTAGES:
            return
        except Exception as fault:  # noqa: BLE001
            # An internal fault, which no client sees; the poll is repeated later.
            log_fault(_log, f"polling for {format_id(IDENTITY_PROVIDER, provider_id)}", fault)
            error = "unreachable"
        with suppress(*OUTAGES):
            async with self._sessions() as session:
                if error is None:
                    await streams.record_polled(session, provider_id, POLL_EVERY)
                else:
                    await streams.record_failure(session, provider_id, error, POLL_EVERY, max_pause)
                await session.commit()

    async def _poll(self, provider_id: UUID) -> None:
        result, left = _PollResult(), 0
        for _ in range(_MAX_ROUNDS):
            settings, access, url, now = await self._state(provider_id)
            try:
                transmitters, taken, refused = self._receiver.transmitters, result.taken, result.refused
                polled = await transmitters.poll(access, url, MAX_EVENTS, taken, refused)
            except ProviderFault as fault:
                raise Failed("refused" if fault.refused else "unreachable") from None
            result = await self._take_all(settings, polled, now)
            left = max(left, result.left)
            if not result.new:
                # Nothing, or only repeated events: continue after the pause, so that no transmitter takes more polls.
                break
        if result.taken or result.refused:
            with suppress(ProviderFault):
                # Events in this response are received again by the next poll.
                await self._receiver.transmitters.poll(access, url, 0, result.taken, result.refused)
        if left:
            raise Failed("unreachable", _MAX_PAUSE_WITH_LEFT)

    async def _take_all(
        self, settings: streams.TransmitterSettings, sets: Mapping[str, str], now: float
    ) -> _PollResult:
        """Process each event separately: a failing one does not delay others, and comes again unacknowledged.

        Raises ``Failed`` for failures that concern all events.
        """
        result = _PollResult()
        for jti, text in sets.items():
            try:
                result.new = await self._take(settings, jti, text, now) or result.new
                result.taken.append(jti)
            except streams.Unacceptable as error:
                result.refused[jti] = {"err": error.code, "description": error.description}
                await self._receiver.refused.note(SYSTEM, settings.provider_id, error.code, None)
            except Failed:
                raise
            except OUTAGES:
                # The database is unavailable, or this event takes longer than it allows.
                result.left += 1
            except Exception as error:  # noqa: BLE001
                # An internal fault, which the next poll would repeat.
                result.left += 1
                provider_id = format_id(IDENTITY_PROVIDER, settings.provider_id)
                log_fault(_log, f"taking an event of {provider_id}", error)
        return result

    async def _state(self, provider_id: UUID) -> tuple[streams.TransmitterSettings, Access, str, float]:
        """Read the current settings and access of a stream, and renew the lease. Raises ``Failed``."""
        async with self._sessions() as session:
            row, settings, stream = await providers.find(session, provider_id), None, None
            if row is not None and row.status == "active":
                settings = streams.transmitter_settings(row)
            if settings is not None and settings.delivery == "poll":
                stream = await streams.stream_at(session, provider_id, settings.issuer)
            now = (await current_time(session)).timestamp()
            await streams.extend_poll(session, provider_id, _LEASE)
            await session.commit()
        if settings is None or stream is None or stream.poll_url is None:
            raise Failed("refused")
        access = streams.access_of(self._sealer, settings, stream)
        if access is None:
            raise Failed("decryption_failed")
        return settings, access, stream.poll_url, now

    async def _take(self, settings: streams.TransmitterSettings, jti: str, text: str, now: float) -> bool:
        """Process an event; return whether it is new. Raises ``Unacceptable`` and ``Failed``."""
        try:
            event, critical = await self._receiver.check(settings, text, now)
        except Unavailable:
            raise Failed("keys_unavailable") from None
        if event.jti != jti:
            raise streams.Unacceptable("invalid_request", "It was sent under another jti than its own.")
        request_id = f"req_{new_id().hex}"
        for attempt in range(ATTEMPTS):
            try:
                async with self._sessions() as session:
                    provider = await providers.find(session, settings.provider_id)
                    if (
                        provider is None
                        or provider.status != "active"
                        or streams.transmitter_settings(provider) != settings
                    ):
                        raise Failed("refused")
                    change = await Change.begin(session, SYSTEM, request_id)
                    new = await receive(change, self._signer, provider, event, critical)
                    await commit(session)
                    return new
            except DBAPIError as error:
                if sqlstate(error) not in _COLLISIONS or attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")
