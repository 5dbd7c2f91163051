"""What is in flight, watched: whoever loses the right to it is cut.

Once a second, and at once when a notification arrives, one statement compares the versions of all that is in
flight. What moved is decided again on a fresh view. A worker that could not compare for ten seconds may be cut
off while others revoke, so it ends everything it has in flight.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from app.domain.access import Decision
from app.features.access.clockwork import DatabaseClock
from app.kit.versions import CHANNEL

CHECK_EVERY_S = 1.0
BLIND_AFTER_S = 10.0
LEASE_EVERY_S = 5.0
_TIMEOUT_S = 1.5
_AT_ONCE = 32

_MOVED = """
SELECT array_agg(g.id) AS ids, extract(epoch FROM clock_timestamp())::float8 AS at
FROM (SELECT DISTINCT id, version FROM unnest($1::uuid[], $2::bigint[]) AS t(id, version)) g
LEFT JOIN access_versions v ON v.id = g.id WHERE coalesce(v.version, 0) <> g.version
"""
_LEASE = """
INSERT INTO worker_leases (worker_id) VALUES ($1)
ON CONFLICT (worker_id) DO UPDATE SET renewed_at = clock_timestamp()
"""
_FAULTS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


@dataclass(slots=True)
class _Watched:
    rests_on: Sequence[tuple[UUID, int]]
    valid_until: float
    redecide: Callable[[], Awaitable[Decision | None]]
    cut: Callable[[], None]


class InFlightTable:
    """Everything this worker has admitted and not finished."""

    def __init__(
        self,
        connect: Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]],
        clock: DatabaseClock,
        worker_id: UUID,
        on_narrowed: Callable[[set[UUID] | None], None],
        listeners: Mapping[str, Callable[[str | None], None]] | None = None,
    ) -> None:
        """``listeners``: who else hears on this connection, by channel; ``None`` says that something may be missed."""
        self._connect = connect
        self._clock = clock
        self._worker_id = worker_id
        self._on_narrowed = on_narrowed
        self._listeners = listeners or {}
        self._watched: dict[UUID, _Watched] = {}
        self._wake = asyncio.Event()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._last_good = time.monotonic()
        self._lease_at = 0.0
        self._closing = False

    def __len__(self) -> int:
        return len(self._watched)

    def enter(
        self,
        call_id: UUID,
        decision: Decision,
        redecide: Callable[[], Awaitable[Decision | None]],
        cut: Callable[[], None],
    ) -> None:
        """Watch a call. ``redecide`` decides it again on a fresh view (``None``: its secret opens nothing)."""
        self._watched[call_id] = _Watched(decision.rests_on, decision.valid_until, redecide, cut)

    def leave(self, call_id: UUID) -> None:
        """Stop watching; unknown ids are fine."""
        self._watched.pop(call_id, None)

    def close(self) -> None:
        """Cut what is left and end ``run``."""
        self._closing = True
        self._cut(list(self._watched))
        self._wake.set()

    async def run(self) -> None:
        """Compare, cut and renew the lease until ``close``; the composition root runs this as a task."""
        while not self._closing:
            # Before the look: what is heard while it looks is looked into at once.
            self._wake.clear()
            try:
                await self._check()
                self._last_good = time.monotonic()
            except _FAULTS:
                self._drop()
            if time.monotonic() - self._last_good > BLIND_AFTER_S:
                self._cut(list(self._watched))
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_EVERY_S):
                    await self._wake.wait()
        self._drop()

    async def _check(self) -> None:
        async with asyncio.timeout(_TIMEOUT_S):
            connection = await self._connected()
            if time.monotonic() - self._lease_at > LEASE_EVERY_S:
                await connection.execute(_LEASE, self._worker_id)
                self._lease_at = time.monotonic()
            if not self._watched:
                return
            pairs = list({pair for watched in self._watched.values() for pair in watched.rests_on})
            sent = time.monotonic()
            [record] = await connection.fetch(
                _MOVED, [id for id, _ in pairs], [version for _, version in pairs]
            )
            self._clock.learn(record["at"], sent, time.monotonic())
        moved = set(record["ids"] or ())
        # What rested on there being no such version, a session that had not ended, never holds again.
        self._cut(
            [
                call_id
                for call_id, watched in self._watched.items()
                if any(version == 0 and id in moved for id, version in watched.rests_on)
            ]
        )
        suspects = [
            call_id
            for call_id, watched in self._watched.items()
            if watched.valid_until <= record["at"] or any(id in moved for id, _ in watched.rests_on)
        ]
        await self._decide_again(suspects)

    async def _decide_again(self, call_ids: Iterable[UUID]) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(call_id: UUID) -> None:
            async with gate:
                watched = self._watched.get(call_id)
                if watched is None:
                    return
                # What cannot be decided now stays watched and is decided at the next check.
                decision = await watched.redecide()
                if decision is None or not decision.allowed:
                    self._cut([call_id])
                else:
                    watched.rests_on = decision.rests_on
                    watched.valid_until = decision.valid_until

        await asyncio.gather(*(one(call_id) for call_id in call_ids), return_exceptions=True)

    def _cut(self, call_ids: Iterable[UUID]) -> None:
        for call_id in call_ids:
            watched = self._watched.pop(call_id, None)
            if watched is not None:
                watched.cut()

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
            await self._connection.add_listener(CHANNEL, self._heard)
            # Whatever was said while nobody listened is unknown.
            self._on_narrowed(None)
            for channel, hear in self._listeners.items():
                await self._connection.add_listener(channel, _handing(hear))
                hear(None)
        return self._connection

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        ids: set[UUID] | None = None
        if isinstance(payload, str) and payload.startswith("["):
            ids = {UUID(hex=text) for text in json.loads(payload)}
        self._on_narrowed(ids)
        self._wake.set()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None


def _handing(hear: Callable[[str | None], None]) -> Callable[..., None]:
    """What asyncpg calls with a notification, of which the payload alone counts."""

    def heard(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        if isinstance(payload, str):
            hear(payload)

    return heard
