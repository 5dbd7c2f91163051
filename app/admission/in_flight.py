"""The table of calls in flight, with an index by dependency. A call that is no longer allowed is cut.

One statement compares the versions of all dependencies: twice a second, when a notification arrives, and when a
decision's validity ends. Calls with a changed dependency are reevaluated on fresh data, and cut if that takes too long.
A worker that could not compare for ten seconds may be cut off from the database while access is revoked elsewhere, so
it cuts all its calls.

Thousands of calls can depend on one policy set or group, so reevaluation is concurrent and takes the most urgent first.
Calls enter and leave far more often than versions are compared, so the index only queues both, and catches up before a
comparison, in small steps.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf
from typing import Generic, TypeVar
from uuid import UUID

import asyncpg

from app.access.listener import Answer, ChangeListener
from app.db.clock import DatabaseClock
from app.db.connection import DRIVER_FAULTS
from app.db.recorder_health import OutageLog
from app.db.rewinds import RewindGuard
from app.db.versions import CHANNEL
from app.domain.access import Decision
from app.domain.objects import Version
from app.lib.clock import boot_time
from app.lib.event_loop import in_slices

Call = TypeVar("Call")
_STEP = 64
"""Pairs per step, which takes some hundredths of a millisecond."""
_MAX_STALE_ENDS = 1_000


_Dependencies = tuple[Sequence[Version], float]
"""The dependencies of a call, and until when its decision holds (Unix seconds). Compared by identity."""
_NONE: _Dependencies = ((), inf)


class DependencyIndex(Generic[Call]):
    """Maps pairs of id and version, and ends of validity, to the calls that depend on them. A call is its own key."""

    def __init__(self) -> None:
        self._dependents: dict[Version, set[Call]] = {}
        self._current: dict[Call, _Dependencies] = {}
        self._pending: dict[Call, _Dependencies] = {}
        """The queued changes."""
        self._ends: list[tuple[float, int, Call, _Dependencies]] = []
        self._pushed = 0

    def put(self, call: Call, pairs: Sequence[Version], until: float) -> None:
        """Set the dependencies of a call, replacing earlier ones."""
        self._pending[call] = pairs, until

    def drop(self, call: Call) -> None:
        """Remove a call. Ignores unknown calls."""
        if call in self._current:
            self._pending[call] = _NONE
        else:
            self._pending.pop(call, None)

    def catch_up(self) -> Generator[None, None, None]:
        """Apply all changes queued before the first step, and possibly later ones. Yields between steps."""
        for _ in range(len(self._pending)):
            if not self._pending:
                return
            call = next(iter(self._pending))
            yield from self._apply(call, self._pending.pop(call))
            yield
        if len(self._ends) > 2 * len(self._current) + _MAX_STALE_ENDS:
            self._ends = [end for end in self._ends if self._current.get(end[2]) is end[3]]
            heapify(self._ends)

    def _apply(self, call: Call, now: _Dependencies) -> Generator[None, None, None]:
        (before, _), (pairs, until) = self._current.pop(call, _NONE), now
        # Set first, so that a ``drop`` between two steps finds the call.
        if now is not _NONE:
            self._current[call] = now
        if before and before is not pairs:
            remaining = set(pairs)
            for place, pair in enumerate(before):
                if pair not in remaining:
                    self._remove(call, pair)
                if place % _STEP == _STEP - 1:
                    yield
        for place, pair in enumerate(pairs):
            dependents = self._dependents.get(pair)
            if dependents is None:
                dependents = self._dependents[pair] = set()
            dependents.add(call)
            if place % _STEP == _STEP - 1:
                yield
        if until < inf:
            self._pushed += 1
            heappush(self._ends, (until, self._pushed, call, now))

    def _remove(self, call: Call, pair: Version) -> None:
        dependents = self._dependents.get(pair)
        if dependents is not None:
            dependents.discard(call)
            if not dependents:
                del self._dependents[pair]

    def pairs(self) -> list[Version]:
        """The distinct dependencies of all calls, as of the last ``catch_up``."""
        return list(self._dependents)

    def calls_depending_on(self, pair: Version) -> Collection[Call]:
        """The calls that depend on a pair, as of the last ``catch_up``."""
        return self._dependents.get(pair, ())

    def is_current(self, call: Call) -> bool:
        """Whether the index has the present dependencies of this call."""
        return call not in self._pending

    def next_end(self) -> float:
        """When the next validity of any call ends, in Unix seconds; ``inf`` for none."""
        while self._ends and self._current.get(self._ends[0][2]) is not self._ends[0][3]:
            heappop(self._ends)
        first = self._ends[0][0] if self._ends else inf
        return min(first, min((until for _, until in self._pending.values()), default=inf))

    def calls_ended_by(self, at: float) -> list[Call]:
        """The calls whose validity has ended by ``at`` (Unix seconds). Each end is returned once."""
        ended = []
        while self._ends and self._ends[0][0] <= at:
            _, _, call, held = heappop(self._ends)
            if self._current.get(call) is held:
                ended.append(call)
        return ended


_log = logging.getLogger(__name__)


MAX_CONCURRENT = 256
"""Concurrent reevaluations. Those of one token, or of tokens read together, share their reads."""
_LOW_WATER = MAX_CONCURRENT // 2
"""Reevaluations start in bulk when no more than these are running: started one by one, they would share few reads."""
_RETRY_AFTER_S = 0.1
_MAX_CUTS = 50


@dataclass(slots=True, eq=False)
class WatchedCall:
    """A call in flight. Times are on the ``boot_time`` clock; ``valid_until`` is in Unix seconds."""

    id: UUID
    depends_on: Sequence[Version]
    valid_until: float
    reevaluate: Callable[[], Awaitable[Decision | None]]
    cut: Callable[[], None]
    comparisons_begun: int
    """How many comparisons had started when the call got its present dependencies."""
    confirmed_at: float = field(default_factory=boot_time)
    """When the call was last known to be allowed, not counting comparisons that found no change."""
    is_reevaluating: bool = False
    """Whether a reevaluation is queued or running."""
    reevaluation: "asyncio.Task[None] | None" = None
    has_left: bool = False


class Reevaluator:
    """Reevaluates the calls that are added.

    ``decided`` gets each new decision and since when it is known to hold. ``late`` gets the calls that could not be
    decided by their due time.
    """

    def __init__(
        self,
        decided: Callable[[WatchedCall, float, Decision | None], None],
        late: Callable[[Sequence[WatchedCall]], None],
    ) -> None:
        self._decided = decided
        self._late = late
        self._waiting: list[tuple[float, int, WatchedCall]] = []
        self._added = self._running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def add(self, watched: WatchedCall, due: float) -> None:
        """Queue a call that is not queued yet; ``due`` is on the ``boot_time`` clock."""
        watched.is_reevaluating = True
        self._added += 1
        heappush(self._waiting, (due, self._added, watched))
        self._begin()
        self._schedule_timer()

    def drop(self, watched: WatchedCall) -> None:
        """Cancel the reevaluation of a call that has ended."""
        watched.has_left = True
        if watched.reevaluation is not None:
            watched.reevaluation.cancel()

    def _begin(self) -> None:
        if self._running > _LOW_WATER:
            return
        while self._waiting and self._running < MAX_CONCURRENT:
            due, _, watched = heappop(self._waiting)
            if watched.has_left:
                continue
            self._running += 1
            watched.reevaluation = asyncio.create_task(self._decide(watched, due))
            watched.reevaluation.add_done_callback(self._finish)

    def _finish(self, task: "asyncio.Task[None]") -> None:
        self._running -= 1
        self._begin()
        if not task.cancelled():
            task.result()  # Raises what a callback raised.

    async def _decide(self, watched: WatchedCall, due: float) -> None:
        begun, decision = boot_time(), None
        try:
            async with asyncio.timeout(due - begun):
                while True:
                    begun = boot_time()
                    try:
                        decision = await watched.reevaluate()
                        break
                    except Exception:  # noqa: BLE001
                        # Any error is retried until the call is cut.
                        await asyncio.sleep(_RETRY_AFTER_S)
        except TimeoutError:
            self._report_late([watched])
            return
        watched.reevaluation, watched.is_reevaluating = None, False
        self._decided(watched, begun, decision)

    def _schedule_timer(self) -> None:
        """Set the timer to the due time of the most urgent queued call."""
        if not self._waiting:
            return
        due = self._waiting[0][0]
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = asyncio.get_running_loop().call_later(due - boot_time(), self._expire)

    def _expire(self) -> None:
        """Give up on queued calls that are due, a few at a time because cutting each one takes time."""
        self._timer, late = None, list[WatchedCall]()
        while self._waiting and self._waiting[0][0] <= boot_time() and len(late) < _MAX_CUTS:
            _, _, watched = heappop(self._waiting)
            if not watched.has_left:
                late.append(watched)
        if late:
            self._report_late(late)
        self._schedule_timer()

    def _report_late(self, late: list[WatchedCall]) -> None:
        _log.warning(
            "Cutting %d calls: their dependencies changed, and they could not be reevaluated in time.",
            len(late),
        )
        for watched in late:
            watched.reevaluation, watched.is_reevaluating = None, False
        self._late(late)


# mutation: check_interval
CHECK_EVERY_S = 0.5


# mutation: blind_limit
BLIND_AFTER_S = 10.0
LEASE_EVERY_S = 5.0
CUT_WITHIN_S = 1.8
"""A call that could not be reevaluated is cut this long after its dependencies may have changed."""
_MIN_REEVALUATION_S = 0.5
PAIRS_AT_ONCE = 5_000
"""Dependencies per statement, whose arguments take the event loop one to two milliseconds to encode."""


# The database clock is known to within a few milliseconds.
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
    """All calls that this worker has admitted and not finished."""

    def __init__(
        self,
        connect: Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]],
        clock: DatabaseClock,
        worker_id: UUID,
        on_narrowed: Callable[[set[UUID] | None], None],
        listeners: Mapping[str, Callable[[str | None], None]] | None = None,
        rewinds: RewindGuard | None = None,
    ) -> None:
        """``listeners`` get the payloads of other channels on this connection; ``None`` means some may be lost."""
        self._wake = asyncio.Event()
        self._listener = ChangeListener(
            connect, {CHANNEL: self._on_notification, **(listeners or {})}, self._wake.set
        )
        self._rewinds = RewindGuard() if rewinds is None else rewinds
        self._rewinds.listeners.append(self._cut_all)
        self._clock = clock
        self._worker_id = worker_id
        self._on_narrowed = on_narrowed
        self._watched: dict[int, WatchedCall] = {}
        """By the ids' integers, whose hashes are fast."""
        self._dependencies = DependencyIndex[WatchedCall]()
        self._reevaluator = Reevaluator(self._decided, self._cut)
        self._comparisons = 0
        # The last comparison that completed, and the time as of which it confirmed the unchanged calls.
        self._completed, self._completed_at = 0, -inf
        self._next_comparison_at = 0.0
        self._notified_at = -inf
        self._blind_timer: asyncio.TimerHandle | None = None
        # One log line per outage is enough, though every new call is cut.
        self._is_blind_logged = False
        self._lease_at = 0.0
        self._closing = False
        self._outage = OutageLog()

    def __len__(self) -> int:
        return len(self._watched)

    def enter(
        self,
        call_id: UUID,
        decision: Decision,
        reevaluate: Callable[[], Awaitable[Decision | None]],
        cut: Callable[[], None],
    ) -> None:
        """Watch a call. ``reevaluate`` decides it on fresh data; ``None`` means that its secret is no longer valid."""
        watched = WatchedCall(
            call_id, decision.depends_on, decision.valid_until, reevaluate, cut, self._comparisons
        )
        self._watched[call_id.int] = watched
        self._dependencies.put(watched, watched.depends_on, watched.valid_until)
        if decision.valid_until < self._next_comparison_at:
            self._wake.set()

    def confirmed_at(self, call_id: UUID) -> float:
        """When the database last confirmed that the call is allowed (``boot_time``); ``-inf`` if never."""
        watched = self._watched.get(call_id.int)
        if watched is None:
            return -inf
        # A call that waits for reevaluation may not be allowed any more.
        return watched.confirmed_at if watched.is_reevaluating else self._confirmed_at(watched)

    def leave(self, call_id: UUID) -> None:
        """Stop watching a call. Ignores unknown ids."""
        watched = self._watched.pop(call_id.int, None)
        if watched is not None:
            self._dependencies.drop(watched)
            self._reevaluator.drop(watched)

    def close(self) -> None:
        """Cut the remaining calls and end ``run``."""
        self._closing = True
        self._cut_all()
        self._wake.set()

    async def run(self) -> None:
        """Compare, cut and renew the lease until ``close``. The composition root runs this as a task."""
        self._restart_blind_timer(boot_time())
        while not self._closing:
            # Cleared before the comparison, so that a notification during it starts another one.
            self._wake.clear()
            try:
                self._restart_blind_timer(await self._check())
            except DRIVER_FAULTS as fault:
                self._outage.record_failure(fault)
            else:
                self._outage.record_success()
            pause = self._pause()
            self._next_comparison_at = self._clock.now() + pause
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
        if self._blind_timer is not None:
            self._blind_timer.cancel()
        await self._listener.close()

    async def _check(self) -> float:
        """Compare once and queue changed calls for reevaluation. Returns when the comparison was sent."""
        if self._rewinds.reason is not None:
            # A new connection is checked against the known progress, which shows whether a restore was confirmed.
            self._listener.drop()
        self._comparisons += 1
        comparison = self._comparisons
        await in_slices(self._dependencies.catch_up())
        pairs, answers = self._dependencies.pairs(), list[Answer]()
        # In parts, so that the database answers each statement in time and the event loop is not blocked.
        for begin in range(0, len(pairs) or 1, PAIRS_AT_ONCE):
            part = pairs[begin : begin + PAIRS_AT_ONCE]
            answer = await self._listener.query(
                _MOVED, [id for id, _ in part], [version for _, version in part]
            )
            self._clock.learn(answer.row["at"], answer.sent, answer.received)
            if answer.row["fell"]:
                self._rewinds.report_older_version()
            answers.append(answer)
            # mutation: moved_judged
            await in_slices(self._process_moved([part[place - 1] for place in answer.row["places"] or ()]))
        first = answers[0]
        await in_slices(self._process_ended(first.row["at"]))
        self._completed, self._completed_at = comparison, first.sent
        if boot_time() - self._lease_at > LEASE_EVERY_S:
            # This write also detects a database that is no longer the primary.
            await self._listener.execute(_LEASE, self._worker_id)
            self._lease_at = boot_time()
        return first.sent

    def _process_moved(self, moved: list[Version]) -> Generator[None, None, None]:
        """Cut or reevaluate the calls whose dependencies changed."""
        for pair in moved:
            for watched in list(self._dependencies.calls_depending_on(pair)):
                yield
                if watched.has_left or not (
                    self._dependencies.is_current(watched) or pair in watched.depends_on
                ):
                    continue
                if pair[1] == 0:
                    # Version 0 means that a session had not ended; once it has, the call is never allowed again.
                    self._cut([watched])
                elif not watched.is_reevaluating:
                    self._reevaluate(watched)

    def _process_ended(self, at: float) -> Generator[None, None, None]:
        """Reevaluate the calls whose validity has ended by the database's clock."""
        for watched in self._dependencies.calls_ended_by(at):
            yield
            if not watched.has_left and not watched.is_reevaluating and watched.valid_until <= at:
                self._reevaluate(watched)

    def _confirmed_at(self, watched: WatchedCall) -> float:
        # A comparison that started after the call entered, and completed, found its dependencies unchanged.
        return (
            max(watched.confirmed_at, self._completed_at)
            if watched.comparisons_begun < self._completed
            else watched.confirmed_at
        )

    def _reevaluate(self, watched: WatchedCall) -> None:
        watched.confirmed_at = self._confirmed_at(watched)
        self._reevaluator.add(
            watched, max(watched.confirmed_at + CUT_WITHIN_S, boot_time() + _MIN_REEVALUATION_S)
        )

    def _decided(self, watched: WatchedCall, begun: float, decision: Decision | None) -> None:
        """Cut the call unless it is still allowed; ``begun`` is when its reevaluation started."""
        if decision is None or not decision.allowed:
            self._cut([watched])
            return
        watched.depends_on, watched.valid_until = decision.depends_on, decision.valid_until
        watched.confirmed_at, watched.comparisons_begun = max(watched.confirmed_at, begun), self._comparisons
        self._dependencies.put(watched, watched.depends_on, watched.valid_until)
        if self._notified_at >= begun:
            # The notification came before the call had its new dependencies: compare again.
            self._wake.set()

    def _pause(self) -> float:
        """Seconds until the next comparison, which is at the next end of a validity if that comes first."""
        ends = self._dependencies.next_end() - self._clock.now()
        return min(CHECK_EVERY_S, max(0.0, ends) + _CLOCK_S)

    def _restart_blind_timer(self, at: float) -> None:
        """Restart the countdown after a comparison; without another one, all calls are cut."""
        self._is_blind_logged = False
        if self._blind_timer is not None:
            self._blind_timer.cancel()
        wait = at + BLIND_AFTER_S - boot_time()
        self._blind_timer = asyncio.get_running_loop().call_later(wait, self._cut_blindly)

    def _cut_blindly(self) -> None:
        if self._watched and not self._is_blind_logged:
            self._is_blind_logged = True
            _log.warning("This worker cannot detect revocations and cuts all calls in flight.")
        self._cut_all()
        self._blind_timer = asyncio.get_running_loop().call_later(CHECK_EVERY_S, self._cut_blindly)

    def _cut_all(self) -> None:
        self._cut(list(self._watched.values()))

    def _cut(self, calls: Sequence[WatchedCall]) -> None:
        for watched in calls:
            if not watched.has_left:
                self.leave(watched.id)
                # mutation: call_cut
                watched.cut()

    def _on_notification(self, payload: str | None) -> None:
        ids: set[UUID] | None = None
        if payload is not None and payload.startswith("["):
            ids = {UUID(hex=text) for text in json.loads(payload)}
        self._notified_at = boot_time()
        # mutation: narrowing_heard
        self._on_narrowed(ids)
        self._wake.set()
