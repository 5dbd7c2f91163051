"""What is in flight, watched: whoever loses the right to it is cut.

Twice a second, at once when a notification arrives, and when a span ends, one statement compares the versions of all
that is in flight. What moved is decided again on a fresh view, and cut when that cannot be done in time. A worker that
could not compare for ten seconds may be cut off while others revoke, so it ends everything it has in flight.

Calls whose grounds have moved, decided again: many at once, the most urgent first, none later than it is due.

One change of a policy set or a group may be what thousands of calls rest on.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from uuid import UUID

import asyncpg

from app.access.dependencies import Grounds
from app.access.listener import Answer, WatchLine
from app.access.snapshot import DatabaseClock
from app.db.connection import DRIVER_FAULTS
from app.db.recorder_health import OutageLog
from app.db.rewinds import RewindGuard
from app.db.versions import CHANNEL
from app.domain.access import Decision
from app.domain.objects import Version
from app.lib.clock import boot_time
from app.lib.event_loop import in_slices

_log = logging.getLogger(__name__)


AT_ONCE = 256
"""Those of one token, and of tokens that are read at once, share their reads."""
_FEW = AT_ONCE // 2
"""More are begun when no more than these are left, many at a time: one after the other they would share little."""
_AGAIN_AFTER_S = 0.1
_CUTS_AT_ONCE = 50


@dataclass(slots=True, eq=False)
class Watched:
    """A call in flight. Times are of ``boot_time``, spans in Unix seconds."""

    id: UUID
    depends_on: Sequence[Version]
    valid_until: float
    redecide: Callable[[], Awaitable[Decision | None]]
    cut: Callable[[], None]
    since: int
    """How many looks had begun when this became what it rests on."""
    good_at: float = field(default_factory=boot_time)
    """When it was last known to be allowed, looks apart that found nothing moved."""
    is_deciding: bool = False
    """Whether it waits to be decided again, or is being so."""
    deciding: "asyncio.Task[None] | None" = None
    has_left: bool = False


class DecidingAgain:
    """Decides again what is added, and tells: ``decided`` what came out and since when that is known to hold, ``late``
    what could not be decided by the time at which it was due."""

    def __init__(
        self,
        decided: Callable[[Watched, float, Decision | None], None],
        late: Callable[[Sequence[Watched]], None],
    ) -> None:
        self._decided = decided
        self._late = late
        self._waiting: list[tuple[float, int, Watched]] = []
        self._added = self._running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def add(self, watched: Watched, due: float) -> None:
        """Have a call decided again that is not waiting for it already; ``due`` is of ``boot_time``."""
        watched.is_deciding = True
        self._added += 1
        heappush(self._waiting, (due, self._added, watched))
        self._begin()
        self._watch()

    def drop(self, watched: Watched) -> None:
        """It has left: nothing more is told of it."""
        watched.has_left = True
        if watched.deciding is not None:
            watched.deciding.cancel()

    def _begin(self) -> None:
        if self._running > _FEW:
            return
        while self._waiting and self._running < AT_ONCE:
            due, _, watched = heappop(self._waiting)
            if watched.has_left:
                continue
            self._running += 1
            watched.deciding = asyncio.create_task(self._decide(watched, due))
            watched.deciding.add_done_callback(self._has_ended)

    def _has_ended(self, task: "asyncio.Task[None]") -> None:
        self._running -= 1
        self._begin()
        if not task.cancelled():
            # Whatever the listeners raised.
            task.result()

    async def _decide(self, watched: Watched, due: float) -> None:
        begun, decision = boot_time(), None
        try:
            async with asyncio.timeout(due - begun):
                begun, decision = await _decision(watched)
        except TimeoutError:
            self._is_late([watched])
            return
        watched.deciding, watched.is_deciding = None, False
        self._decided(watched, begun, decision)

    def _watch(self) -> None:
        """Be called when the first of those that wait is due."""
        if not self._waiting:
            return
        due = self._waiting[0][0]
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = asyncio.get_running_loop().call_later(due - boot_time(), self._give_up)

    def _give_up(self) -> None:
        """Of those that wait, what is due has had its time. A few at once: each of them has an end to come to."""
        self._timer, late = None, list[Watched]()
        while self._waiting and self._waiting[0][0] <= boot_time() and len(late) < _CUTS_AT_ONCE:
            _, _, watched = heappop(self._waiting)
            if not watched.has_left:
                late.append(watched)
        if late:
            self._is_late(late)
        self._watch()

    def _is_late(self, late: list[Watched]) -> None:
        _log.warning(
            "Calls are cut (%d): what they rest on has moved, and they could not be decided again in time.",
            len(late),
        )
        for watched in late:
            watched.deciding, watched.is_deciding = None, False
        self._late(late)


async def _decision(watched: Watched) -> tuple[float, Decision | None]:
    """The decision, and since when it is known to hold."""
    while True:
        try:
            return boot_time(), await watched.redecide()
        except Exception:  # noqa: BLE001
            # Whatever it is: it is tried again until the call is cut.
            await asyncio.sleep(_AGAIN_AFTER_S)


# mutation: check_interval
CHECK_EVERY_S = 0.5

# mutation: blind_limit
BLIND_AFTER_S = 10.0
LEASE_EVERY_S = 5.0
CUT_WITHIN_S = 1.8
"""After its grounds may have moved, a call that could not be decided again."""
_TRIES_AT_LEAST_S = 0.5
PAIRS_AT_ONCE = 5_000
"""So many pairs are compared by one statement, which takes the event loop one to two milliseconds to write."""

# The clock that spans are judged by here is known to a few milliseconds.
_CLOCK_S = 0.02


_MOVED = """
SELECT array_agg(g.place::int) AS places, bool_or(coalesce(v.version, 0) < g.version) AS fell,
    extract(epoch FROM clock_timestamp())::float8 AS at
FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS g(id, version, place)
LEFT JOIN access_versions v ON v.id = g.id WHERE coalesce(v.version, 0) <> g.version
"""
_LEASE = """
INSERT INTO worker_leases (worker_id) VALUES ($1)
ON CONFLICT (worker_id) DO UPDATE SET renewed_at = clock_timestamp()
"""


class InFlightTable:
    """Everything this worker has admitted and not finished."""

    def __init__(
        self,
        connect: Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]],
        clock: DatabaseClock,
        worker_id: UUID,
        on_narrowed: Callable[[set[UUID] | None], None],
        listeners: Mapping[str, Callable[[str | None], None]] | None = None,
        rewinds: RewindGuard | None = None,
    ) -> None:
        """``listeners``: who else hears on this connection, by channel; ``None`` says that something may be missed."""
        self._wake = asyncio.Event()
        self._line = WatchLine(connect, {CHANNEL: self._heard, **(listeners or {})}, self._wake.set)
        self._rewinds = RewindGuard() if rewinds is None else rewinds
        self._rewinds.listeners.append(lambda: self._cut(list(self._watched)))
        self._clock = clock
        self._worker_id = worker_id
        self._on_narrowed = on_narrowed
        self._watched: dict[UUID, Watched] = {}
        self._grounds = Grounds[Watched]()
        self._again = DecidingAgain(self._decided, self._cut_these)
        self._looks = 0
        # Which look was the last that came to its end, and as of when what had not moved then was good.
        self._looked, self._looked_at = 0, -inf
        self._looks_at = 0.0
        self._heard_at = -inf
        self._blind: asyncio.TimerHandle | None = None
        # Whether the log has said so: in an outage, each call that comes is ended, and one line is enough.
        self._is_blind = False
        self._lease_at = 0.0
        self._closing = False
        self._outage = OutageLog()

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
        watched = Watched(call_id, decision.depends_on, decision.valid_until, redecide, cut, self._looks)
        self._watched[call_id] = watched
        self._grounds.put(watched, watched.depends_on, watched.valid_until)
        if decision.valid_until < self._looks_at:
            self._wake.set()

    def confirmed_at(self, call_id: UUID) -> float:
        """As of when the database last said that the call is still allowed, of ``boot_time``; never: ``-inf``."""
        watched = self._watched.get(call_id)
        if watched is None:
            return -inf
        # What waits to be decided again may not be allowed any more.
        return watched.good_at if watched.is_deciding else self._good_at(watched)

    def leave(self, call_id: UUID) -> None:
        """Stop watching; unknown ids are fine."""
        watched = self._watched.pop(call_id, None)
        if watched is not None:
            self._grounds.drop(watched)
            self._again.drop(watched)

    def close(self) -> None:
        """Cut what is left and end ``run``."""
        self._closing = True
        self._cut(list(self._watched))
        self._wake.set()

    async def run(self) -> None:
        """Compare, cut and renew the lease until ``close``; the composition root runs this as a task."""
        self._sees(boot_time())
        while not self._closing:
            # Before the look: what is heard while it looks is looked into at once.
            self._wake.clear()
            try:
                self._sees(await self._check())
            except DRIVER_FAULTS as fault:
                self._outage.found(fault)
            else:
                self._outage.over()
            pause = self._pause()
            self._looks_at = self._clock.now() + pause
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
        if self._blind is not None:
            self._blind.cancel()
        self._line.drop()

    async def _check(self) -> float:
        """Compare once, and have decided again what moved; as of when that is known."""
        if self._rewinds.reason is not None:
            # A new connection is held against what is known, and finds out whether a restore was confirmed.
            self._line.drop()
        self._looks += 1
        look = self._looks
        await in_slices(self._grounds.catch_up())
        pairs, answers = self._grounds.pairs(), list[Answer]()
        # In parts: what a part holds of others is held by all of it, and the database has to answer each in time.
        for begin in range(0, len(pairs) or 1, PAIRS_AT_ONCE):
            part = pairs[begin : begin + PAIRS_AT_ONCE]
            answer = await self._line.ask(_MOVED, [id for id, _ in part], [version for _, version in part])
            self._clock.learn(answer.row["at"], answer.sent, answer.received)
            if answer.row["fell"]:
                self._rewinds.fell()
            answers.append(answer)
            # mutation: moved_judged
            await in_slices(self._judge([part[place - 1] for place in answer.row["places"] or ()]))
        first = answers[0]
        await in_slices(self._judge_ends(first.row["at"]))
        self._looked, self._looked_at = look, first.sent
        if boot_time() - self._lease_at > LEASE_EVERY_S:
            # It is also what tells a database that is written to from one that others have turned away from.
            await self._line.tell(_LEASE, self._worker_id)
            self._lease_at = boot_time()
        return first.sent

    def _judge(self, moved: list[Version]) -> Generator[None, None, None]:
        """Cut, or have decided again, the calls that rest on what moved."""
        for pair in moved:
            for watched in list(self._grounds.resting_on(pair)):
                yield
                if watched.has_left or not (
                    self._grounds.is_caught_up_with(watched) or pair in watched.depends_on
                ):
                    continue
                if pair[1] == 0:
                    # What rested on there being no such version, a session that had not ended, never holds again.
                    self._cut([watched.id])
                elif not watched.is_deciding:
                    self._decide_again(watched)

    def _judge_ends(self, at: float) -> Generator[None, None, None]:
        """Have decided again the calls whose spans have ended by the database's clock."""
        for watched in self._grounds.ended_by(at):
            yield
            if not watched.has_left and not watched.is_deciding and watched.valid_until <= at:
                self._decide_again(watched)

    def _good_at(self, watched: Watched) -> float:
        # A look that began after the call came, and has ended, found nothing of it moved.
        return max(watched.good_at, self._looked_at) if watched.since < self._looked else watched.good_at

    def _decide_again(self, watched: Watched) -> None:
        watched.good_at = self._good_at(watched)
        self._again.add(watched, max(watched.good_at + CUT_WITHIN_S, boot_time() + _TRIES_AT_LEAST_S))

    def _decided(self, watched: Watched, begun: float, decision: Decision | None) -> None:
        """Cut the call unless it is allowed still; ``begun`` is since when that is known."""
        if decision is None or not decision.allowed:
            self._cut([watched.id])
            return
        watched.depends_on, watched.valid_until = decision.depends_on, decision.valid_until
        watched.good_at, watched.since = max(watched.good_at, begun), self._looks
        self._grounds.put(watched, watched.depends_on, watched.valid_until)
        if self._heard_at >= begun:
            # It was not watched when something was said to have moved.
            self._wake.set()

    def _pause(self) -> float:
        """Seconds until the next look: at the end of the next span, if that comes before."""
        ends = self._grounds.next_end() - self._clock.now()
        return min(CHECK_EVERY_S, max(0.0, ends) + _CLOCK_S)

    def _sees(self, at: float) -> None:
        """What was compared at that time holds; without another, all ends in ten seconds."""
        self._is_blind = False
        if self._blind is not None:
            self._blind.cancel()
        wait = at + BLIND_AFTER_S - boot_time()
        self._blind = asyncio.get_running_loop().call_later(wait, self._end_blindly)

    def _end_blindly(self) -> None:
        if self._watched and not self._is_blind:
            self._is_blind = True
            _log.warning("This worker cannot see who was revoked, and ends all that it has in flight.")
        self._cut(list(self._watched))
        self._blind = asyncio.get_running_loop().call_later(CHECK_EVERY_S, self._end_blindly)

    def _cut(self, call_ids: Iterable[UUID]) -> None:
        for call_id in call_ids:
            watched = self._watched.get(call_id)
            self.leave(call_id)
            if watched is not None:
                # mutation: call_cut
                watched.cut()

    def _cut_these(self, late: Sequence[Watched]) -> None:
        self._cut([watched.id for watched in late])

    def _heard(self, payload: str | None) -> None:
        ids: set[UUID] | None = None
        if payload is not None and payload.startswith("["):
            ids = {UUID(hex=text) for text in json.loads(payload)}
        self._heard_at = boot_time()
        # mutation: narrowing_heard
        self._on_narrowed(ids)
        self._wake.set()
