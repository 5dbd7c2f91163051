"""Asking for events where they are not pushed (RFC 8936): every worker looks, one asks each transmitter at a time.

An event is acknowledged once it is committed, and not before, so a worker that is lost leaves it to the next.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from random import SystemRandom
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.adapters.ssf.push_routes import Receiver
from app.crypto.keys import Sealer, UnsealingFault
from app.crypto.signing import Signer
from app.db.engine import ATTEMPTS, OUT_OF_REACH, commit, sqlstate
from app.domain.errors import Unavailable
from app.features.identity_providers import queries as providers
from app.features.identity_providers.signals import queries
from app.features.identity_providers.signals.receive import EventSource, receive
from app.features.identity_providers.signals.streams import (
    Access,
    TransmitterFault,
    TransmitterSettings,
    Unacceptable,
    access_of,
    all_transmitter_settings,
    stream_at,
    transmitter_settings,
)
from app.http.authorization import Caller, Role
from app.lib.ids import IDENTITY_PROVIDER, format_id, new_id
from app.lib.logs import log_fault
from app.lib.strict_json import JsonObject

SYSTEM = Caller("system", UUID(int=0), frozenset({Role.ADMIN}))
POLL_EVERY = timedelta(seconds=5)
"""Between two polls of one transmitter; doubled with each failure in a row, up to ``LONGEST_PAUSE``."""
LONGEST_PAUSE = timedelta(minutes=5)
_PAUSE_WITH_LEFT = timedelta(seconds=30)
"""The longest pause where an event could not be taken, which those that come after it are not to wait for."""
MOST_EVENTS = 25
"""How many events one poll asks for."""
_MOST_ROUNDS = 40
_AT_ONCE = 4
_LOOK_EVERY_S = 1.0
_UPKEEP_EVERY_S = 5.0
# Longer than one poll and taking what it brings.
_LEASE = timedelta(seconds=60)
_COLLISIONS = {"40001", "40P01"}
_AWAY = (Unavailable, *OUT_OF_REACH)
_log = logging.getLogger(__name__)
_spread = SystemRandom()


class Failed(Exception):
    """A poll did not come to its end; ``error`` is what the stream shows, ``most`` the longest pause after it."""

    def __init__(self, error: str, most: timedelta = LONGEST_PAUSE) -> None:
        super().__init__(error)
        self.error = error
        self.most = most


@dataclass(slots=True)
class _Brought:
    """What became of the events of one poll: taken, refused and why, or left for another time; whether any is new."""

    taken: list[str] = field(default_factory=list)
    refused: dict[str, JsonObject] = field(default_factory=dict)
    left: int = 0
    new: bool = False


class Polling:
    """One worker's share of asking, and the upkeep of what it knows of transmitters."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], sealer: Sealer, signer: Signer, receiver: Receiver
    ) -> None:
        self._sessions = sessions
        self._sealer = sealer
        self._signer = signer
        self._receiver = receiver
        self._polling: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Ask until cancelled. What is being taken then is asked for again by somebody.

        Upkeep goes on beside it: a transmitter that is slow with its keys must not have the others wait for their turn.
        """
        try:
            await asyncio.gather(
                self._again(self.look, _LOOK_EVERY_S, "looking for events"),
                self._again(self.upkeep, _UPKEEP_EVERY_S, "the upkeep of signals"),
            )
        finally:
            for task in self._polling:
                task.cancel()
            await asyncio.gather(*self._polling, return_exceptions=True)
            with suppress(Exception):
                await self._receiver.refused.flush(all=True)

    async def _again(self, it: Callable[[], Awaitable[None]], every_s: float, what: str) -> None:
        while True:
            try:
                await it()
            except _AWAY:
                # Others say that the database is away; what is due stays due.
                pass
            except Exception as error:  # noqa: BLE001
                # Whatever it is, it must not end the loop.
                log_fault(_log, what, error)
            await asyncio.sleep(every_s * _spread.uniform(0.5, 1.0))

    async def upkeep(self) -> None:
        """Keep keys fresh, and write down what was refused in minutes that are over."""
        async with self._sessions() as session:
            transmitters = {found.transmitter for found in await all_transmitter_settings(session)}
        await self._receiver.keys.keep_fresh(transmitters)
        self._receiver.transmitters.forget(transmitters)
        await self._receiver.refused.flush()

    async def look(self) -> None:
        """Begin to ask those that are due, as far as there is room."""
        while len(self._polling) < _AT_ONCE:
            async with self._sessions() as session:
                provider_id = await queries.claim_poll(session, _LEASE)
                await session.commit()
            if provider_id is None:
                return
            task = asyncio.create_task(self.poll(provider_id), name="poll for events")
            self._polling.add(task)
            task.add_done_callback(self._polling.discard)

    async def idle(self) -> None:
        """Wait until nobody is being asked."""
        while self._polling:
            await asyncio.wait(self._polling)

    async def poll(self, provider_id: UUID) -> None:
        """Ask one transmitter for all that waits, and note how that went."""
        error, most = None, LONGEST_PAUSE
        try:
            await self._poll(provider_id)
        except Failed as failed:
            error, most = failed.error, failed.most
        except _AWAY:
            return
        except Exception as fault:  # noqa: BLE001
            # A fault of ours, which nobody who waits would see; it is tried again later.
            log_fault(_log, f"polling for {format_id(IDENTITY_PROVIDER, provider_id)}", fault)
            error = "unreachable"
        with suppress(*_AWAY):
            async with self._sessions() as session:
                if error is None:
                    await queries.record_polled(session, provider_id, POLL_EVERY)
                else:
                    await queries.record_failure(session, provider_id, error, POLL_EVERY, most)
                await session.commit()

    async def _poll(self, provider_id: UUID) -> None:
        brought, left = _Brought(), 0
        for _ in range(_MOST_ROUNDS):
            found, access, url, now = await self._state(provider_id)
            try:
                polled = await self._receiver.transmitters.poll(
                    access, url, MOST_EVENTS, brought.taken, brought.refused
                )
            except TransmitterFault as fault:
                raise Failed("refused" if fault.refused else "unreachable") from None
            brought = await self._take_all(found, polled.sets, now)
            left = max(left, brought.left)
            if not brought.new:
                # Nothing, or the same again: whoever sends that for ever is asked in its turn and no oftener.
                break
        if brought.taken or brought.refused:
            with suppress(TransmitterFault):
                # What it sends along waits until it is asked for.
                await self._receiver.transmitters.poll(access, url, 0, brought.taken, brought.refused)
        if left:
            raise Failed("unreachable", _PAUSE_WITH_LEFT)

    async def _take_all(self, found: TransmitterSettings, sets: Mapping[str, str], now: float) -> _Brought:
        """Take what a poll brought, each by itself: one that cannot be taken must not hold up those behind it, and is
        not acknowledged, so that it comes again. Raises ``Failed`` for what concerns all of them."""
        brought = _Brought()
        for jti, text in sets.items():
            try:
                brought.new = await self._take(found, jti, text, now) or brought.new
                brought.taken.append(jti)
            except Unacceptable as error:
                brought.refused[jti] = {"err": error.code, "description": error.description}
                await self._receiver.refused.note(SYSTEM, found.provider_id, error.code, None)
            except Failed:
                raise
            except _AWAY:
                # The database is away, or this event alone takes longer than it allows.
                brought.left += 1
            except Exception as error:  # noqa: BLE001
                # A fault of ours, which would be the same at the next poll.
                brought.left += 1
                log_fault(
                    _log, f"taking an event of {format_id(IDENTITY_PROVIDER, found.provider_id)}", error
                )
        return brought

    async def _state(self, provider_id: UUID) -> tuple[TransmitterSettings, Access, str, float]:
        """What to ask and with what, as it is now; the lease begins anew. Raises ``Failed``."""
        async with self._sessions() as session:
            found, stream = await self._found(session, provider_id), None
            if found is not None and found.delivery == "poll":
                stream = await stream_at(session, provider_id, found.issuer)
            now = (await queries.database_now(session)).timestamp()
            await queries.extend_poll(session, provider_id, _LEASE)
            await session.commit()
        if found is None or stream is None or stream.poll_url is None:
            raise Failed("refused")
        try:
            access = access_of(self._sealer, found, stream)
        except UnsealingFault:
            access = None
        if access is None:
            raise Failed("decryption_failed")
        return found, access, stream.poll_url, now

    async def _found(self, session: AsyncSession, provider_id: UUID) -> TransmitterSettings | None:
        row = await providers.find(session, provider_id)
        return None if row is None or row.status != "active" else transmitter_settings(row)

    async def _take(self, found: TransmitterSettings, jti: str, text: str, now: float) -> bool:
        """Take one event; whether it is a new one. Raises ``Unacceptable`` and ``Failed``."""
        try:
            event, critical = await self._receiver.check(found, text, now)
        except Unavailable:
            raise Failed("keys_unavailable") from None
        if event.jti != jti:
            raise Unacceptable("invalid_request", "It came under another jti than its own.")
        request_id = f"req_{new_id().hex}"
        for attempt in range(ATTEMPTS):
            try:
                async with self._sessions() as session:
                    provider = await providers.find(session, found.provider_id)
                    if (
                        provider is None
                        or provider.status != "active"
                        or transmitter_settings(provider) != found
                    ):
                        raise Failed("refused")
                    acting = EventSource(session, SYSTEM, self._signer, request_id)
                    new = await receive(acting, provider, event, critical)
                    await commit(session)
                    return new
            except DBAPIError as error:
                if sqlstate(error) not in _COLLISIONS or attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")
