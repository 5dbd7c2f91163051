"""What calls in flight rest on, by what they rest on: kept up as they come and go, so that a look asks what changed.

Calls come and go far oftener than the versions are looked at. So nothing is done when one does: what of it is left at
the next look is caught up with then, in steps.
"""

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf
from typing import Generic, TypeVar

from app.domain.objects import Version

Call = TypeVar("Call")
_STEP = 64
"""So many pairs are a step, of some hundredths of a millisecond."""
_SPARE_ENDS = 1_000


@dataclass(slots=True, eq=False)
class _Held:
    """What a call rests on, and until when the decision holds, in Unix seconds."""

    pairs: Sequence[Version]
    until: float


_NOTHING = _Held((), inf)


class DependencyIndex(Generic[Call]):
    """Pairs of an id and a version, and ends of spans, with the calls that rest on them. A call is its own key."""

    def __init__(self) -> None:
        self._resting: dict[Version, set[Call]] = {}
        self._held: dict[Call, _Held] = {}
        self._awaited: dict[Call, _Held] = {}
        """What calls rest on by now, of those that were not caught up with yet."""
        self._ends: list[tuple[float, int, Call, _Held]] = []
        self._pushed = 0

    def put(self, call: Call, pairs: Sequence[Version], until: float) -> None:
        """From now on the call rests on these, whatever it rested on before."""
        self._awaited[call] = _Held(pairs, until)

    def drop(self, call: Call) -> None:
        """The call rests on nothing any more; unknown ones are fine."""
        if call in self._held:
            self._awaited[call] = _NOTHING
        else:
            self._awaited.pop(call, None)

    def catch_up(self) -> Generator[None, None, None]:
        """Take in all that was put and dropped before the first step, and perhaps some that is so meanwhile."""
        for _ in range(len(self._awaited)):
            if not self._awaited:
                return
            call = next(iter(self._awaited))
            yield from self._take_in(call, self._awaited.pop(call))
            yield
        if len(self._ends) > 2 * len(self._held) + _SPARE_ENDS:
            self._ends = [end for end in self._ends if self._held.get(end[2]) is end[3]]
            heapify(self._ends)

    def _take_in(self, call: Call, now: _Held) -> Generator[None, None, None]:
        before = self._held.pop(call, _NOTHING).pairs
        # Known from here on, so that one that is dropped meanwhile is found to be.
        if now is not _NOTHING:
            self._held[call] = now
        if before and before is not now.pairs:
            kept = set(now.pairs)
            for place, pair in enumerate(before):
                if pair not in kept:
                    self._let_go(call, pair)
                if place % _STEP == _STEP - 1:
                    yield
        for place, pair in enumerate(now.pairs):
            resting = self._resting.get(pair)
            if resting is None:
                resting = self._resting[pair] = set()
            resting.add(call)
            if place % _STEP == _STEP - 1:
                yield
        if now.until < inf:
            self._pushed += 1
            heappush(self._ends, (now.until, self._pushed, call, now))

    def _let_go(self, call: Call, pair: Version) -> None:
        resting = self._resting.get(pair)
        if resting is not None:
            resting.discard(call)
            if not resting:
                del self._resting[pair]

    def pairs(self) -> list[Version]:
        """Each pair that a call rests on, once, as of what was caught up with."""
        return list(self._resting)

    def calls_depending_on(self, pair: Version) -> Collection[Call]:
        """The calls that rest on it, as of what was caught up with."""
        return self._resting.get(pair, ())

    def is_current(self, call: Call) -> bool:
        """Whether what is said of this call is what it rests on now."""
        return call not in self._awaited

    def next_end(self) -> float:
        """When the next span ends, of any call, in Unix seconds; ``inf`` for none."""
        while self._ends and self._held.get(self._ends[0][2]) is not self._ends[0][3]:
            heappop(self._ends)
        first = self._ends[0][0] if self._ends else inf
        return min(first, min((held.until for held in self._awaited.values()), default=inf))

    def calls_ended_by(self, at: float) -> list[Call]:
        """The calls whose spans have ended by then, in Unix seconds; each span is told once."""
        ended = []
        while self._ends and self._ends[0][0] <= at:
            _, _, call, held = heappop(self._ends)
            if self._held.get(call) is held:
                ended.append(call)
        return ended
