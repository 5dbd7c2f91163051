"""An index of calls in flight by their dependencies.

Calls enter and leave far more often than versions are compared. So ``put`` and ``drop`` only queue their change, and
``catch_up`` applies what is left before a comparison, in small steps.
"""

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf
from typing import Generic, TypeVar

from app.domain.objects import Version

Call = TypeVar("Call")
_STEP = 64
"""Pairs per step, which takes some hundredths of a millisecond."""
_MAX_STALE_ENDS = 1_000


@dataclass(slots=True, eq=False)
class _Dependencies:
    """The dependencies of a call, and until when its decision holds (Unix seconds)."""

    pairs: Sequence[Version]
    until: float


_NONE = _Dependencies((), inf)


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
        self._pending[call] = _Dependencies(pairs, until)

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
        before = self._current.pop(call, _NONE).pairs
        # Set first, so that a ``drop`` between two steps finds the call.
        if now is not _NONE:
            self._current[call] = now
        if before and before is not now.pairs:
            remaining = set(now.pairs)
            for place, pair in enumerate(before):
                if pair not in remaining:
                    self._remove(call, pair)
                if place % _STEP == _STEP - 1:
                    yield
        for place, pair in enumerate(now.pairs):
            dependents = self._dependents.get(pair)
            if dependents is None:
                dependents = self._dependents[pair] = set()
            dependents.add(call)
            if place % _STEP == _STEP - 1:
                yield
        if now.until < inf:
            self._pushed += 1
            heappush(self._ends, (now.until, self._pushed, call, now))

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
        return min(first, min((held.until for held in self._pending.values()), default=inf))

    def calls_ended_by(self, at: float) -> list[Call]:
        """The calls whose validity has ended by ``at`` (Unix seconds). Each end is returned once."""
        ended = []
        while self._ends and self._ends[0][0] <= at:
            _, _, call, held = heappop(self._ends)
            if self._current.get(call) is held:
                ended.append(call)
        return ended
