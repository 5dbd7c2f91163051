"""What is in flight, watched: whoever loses the right to it is cut.

Twice a second, at once when a notification arrives, and when a span ends, one statement compares the versions of all
that is in flight. What moved is decided again on a fresh view, and cut when that cannot be done in time. A worker that
could not compare for ten seconds may be cut off while others revoke, so it ends everything it has in flight.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from app.domain.access import Decision
from app.features.access.clockwork import DatabaseClock
from app.features.access.watch_line import Answer, WatchLine
from app.kit.connecting import DRIVER_FAULTS
from app.kit.versions import CHANNEL

_log = logging.getLogger(__name__)

CHECK_EVERY_S = 0.5
BLIND_AFTER_S = 10.0
LEASE_EVERY_S = 5.0
CUT_WITHIN_S = 1.8
"""After its grounds may have moved, a call that could not be decided again."""
_TRIES_AT_LEAST_S = 0.5
_AGAIN_AFTER_S = 0.1
_AT_ONCE = 32
# The clock that spans are judged by here is known to a few milliseconds.
_CLOCK_S = 0.02

_MOVED = """
SELECT array_agg(g.place::int) AS places, extract(epoch FROM clock_timestamp())::float8 AS at
FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS g(id, version, place)
LEFT JOIN access_versions v ON v.id = g.id WHERE coalesce(v.version, 0) <> g.version
"""
_LEASE = """
INSERT INTO worker_leases (worker_id) VALUES ($1)
ON CONFLICT (worker_id) DO UPDATE SET renewed_at = clock_timestamp()
"""


@dataclass(slots=True, eq=False)
class _Watched:
    rests_on: Sequence[tuple[UUID, int]]
    valid_until: float
    redecide: Callable[[], Awaitable[Decision | None]]
    cut: Callable[[], None]
    good_at: float = field(default_factory=time.monotonic)
    """When it was last known to be allowed, in monotonic seconds."""
    deciding: "asyncio.Task[None] | None" = None
    moved_meanwhile: bool = False


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
        self._wake = asyncio.Event()
        self._line = WatchLine(connect, {CHANNEL: self._heard, **(listeners or {})}, self._wake.set)
        self._clock = clock
        self._worker_id = worker_id
        self._on_narrowed = on_narrowed
        self._watched: dict[UUID, _Watched] = {}
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._looks_at = 0.0
        self._blind: asyncio.TimerHandle | None = None
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
        if decision.valid_until < self._looks_at:
            self._wake.set()

    def leave(self, call_id: UUID) -> None:
        """Stop watching; unknown ids are fine."""
        watched = self._watched.pop(call_id, None)
        if watched is not None and watched.deciding is not None:
            watched.deciding.cancel()

    def close(self) -> None:
        """Cut what is left and end ``run``."""
        self._closing = True
        self._cut(list(self._watched))
        self._wake.set()

    async def run(self) -> None:
        """Compare, cut and renew the lease until ``close``; the composition root runs this as a task."""
        self._sees(time.monotonic())
        while not self._closing:
            # Before the look: what is heard while it looks is looked into at once.
            self._wake.clear()
            with suppress(*DRIVER_FAULTS):
                self._sees(await self._check())
            pause = self._pause()
            self._looks_at = self._clock.now() + pause
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
        if self._blind is not None:
            self._blind.cancel()
        self._line.drop()

    async def _check(self) -> float:
        """Compare once, and have decided again what moved; as of when that is known, in monotonic seconds."""
        pairs = list({pair for watched in self._watched.values() for pair in watched.rests_on})
        answer = await self._line.ask(_MOVED, [id for id, _ in pairs], [version for _, version in pairs])
        self._clock.learn(answer.row["at"], answer.sent, answer.received)
        self._judge({pairs[place - 1] for place in answer.row["places"] or ()}, answer)
        if time.monotonic() - self._lease_at > LEASE_EVERY_S:
            # It is also what tells a database that is written to from one that others have turned away from.
            await self._line.tell(_LEASE, self._worker_id)
            self._lease_at = time.monotonic()
        return answer.sent

    def _judge(self, moved: set[tuple[UUID, int]], answer: Answer) -> None:
        for call_id, watched in list(self._watched.items()):
            gone = [pair for pair in watched.rests_on if pair in moved] if moved else []
            if any(version == 0 for _, version in gone):
                # What rested on there being no such version, a session that had not ended, never holds again.
                self._cut([call_id])
            elif not gone and watched.valid_until > answer.row["at"]:
                watched.good_at = max(watched.good_at, answer.sent)
            elif watched.deciding is not None:
                watched.moved_meanwhile = True
            else:
                due = max(watched.good_at + CUT_WITHIN_S, time.monotonic() + _TRIES_AT_LEAST_S)
                watched.deciding = asyncio.create_task(self._decide_again(call_id, watched, due))

    async def _decide_again(self, call_id: UUID, watched: _Watched, due: float) -> None:
        """Cut the call unless it is allowed still. The others are watched meanwhile, however long this takes."""
        decision, begun = None, time.monotonic()
        try:
            async with asyncio.timeout(due - begun):
                begun, decision = await self._decided(watched)
        except TimeoutError:
            _log.warning(
                "A call is cut: what it rests on has moved, and it could not be decided again in time."
            )
        watched.deciding = None
        if decision is None or not decision.allowed:
            self._cut([call_id])
            return
        watched.rests_on, watched.valid_until = decision.rests_on, decision.valid_until
        watched.good_at = max(watched.good_at, begun)
        if watched.moved_meanwhile:
            watched.moved_meanwhile = False
            self._wake.set()

    async def _decided(self, watched: _Watched) -> tuple[float, Decision | None]:
        """The decision, and since when it is known to hold."""
        while True:
            try:
                async with self._gate:
                    return time.monotonic(), await watched.redecide()
            except Exception:  # noqa: BLE001
                # Whatever it is: it is tried again until the call is cut.
                await asyncio.sleep(_AGAIN_AFTER_S)

    def _pause(self) -> float:
        """Seconds until the next look: at the end of the next span, if that comes before."""
        ends = min(
            (watched.valid_until for watched in self._watched.values() if watched.deciding is None),
            default=None,
        )
        if ends is None:
            return CHECK_EVERY_S
        return min(CHECK_EVERY_S, max(0.0, ends - self._clock.now()) + _CLOCK_S)

    def _sees(self, at: float) -> None:
        """What was compared at that time, in monotonic seconds, holds; without another, all ends in ten seconds."""
        if self._blind is not None:
            self._blind.cancel()
        wait = at + BLIND_AFTER_S - time.monotonic()
        self._blind = asyncio.get_running_loop().call_later(wait, self._end_blindly)

    def _end_blindly(self) -> None:
        if self._watched:
            _log.warning("This worker cannot see who was revoked, and ends all that it has in flight.")
        self._cut(list(self._watched))
        self._blind = asyncio.get_running_loop().call_later(CHECK_EVERY_S, self._end_blindly)

    def _cut(self, call_ids: Iterable[UUID]) -> None:
        for call_id in call_ids:
            watched = self._watched.get(call_id)
            self.leave(call_id)
            if watched is not None:
                watched.cut()

    def _heard(self, payload: str | None) -> None:
        ids: set[UUID] | None = None
        if payload is not None and payload.startswith("["):
            ids = {UUID(hex=text) for text in json.loads(payload)}
        self._on_narrowed(ids)
        self._wake.set()
