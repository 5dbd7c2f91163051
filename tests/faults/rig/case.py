"""A history, indexed for the checker: access, nearby faults, and delays of the driver."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cached_property

from tests.faults.rig.history import (
    THE_END,
    Audited,
    Call,
    Closed,
    Disturbance,
    DriverDelay,
    GatewayLife,
    Granted,
    History,
    Received,
    Restored,
    Withdrawn,
)
from tests.faults.rig.plan import Violation

CUT_S = 2.0
BLIND_S = 10.0
ANSWER_S = 2.0
RESUME_S = 5.0
# What a look every second at what is in flight adds where a fault had hidden something.
LOOK_S = 1.5
ADMITTED_S = 1.0
"""How old an admission may be when its call is sent."""
LATE_S = 0.1
"""By how much the driver may be late at once, and still be called on time."""
# For each second that the driver waits for a processor, so do the gateway and the database that it talks to.
_WAITING = 3.0
_NOTICED_S = 1.0
FOREVER = float("inf")


class Case:
    """A history, arranged for the judgement."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.calls = history.of(Call)
        self.by_id: dict[str, Call] = {}
        for call in self.calls:
            self.by_id.setdefault(call.id, call)
        self.received = history.of(Received)
        self.taken = history.of(Withdrawn)
        self.backs = {back.id: back for back in history.of(Restored)}
        self.disturbances = history.of(Disturbance)
        self.closed = {closed.call: closed.at for closed in history.of(Closed)}
        self._beats = history.of(DriverDelay)
        self._beat_starts = [beat.began for beat in self._beats]

    @cached_property
    def allowed(self) -> dict[str, Audited]:
        """The first allow of each call."""
        found: dict[str, Audited] = {}
        for row in self.history.audit:
            if row.decision == "allow" and (row.call not in found or row.time < found[row.call].time):
                found[row.call] = row
        return found

    @cached_property
    def _takings(self) -> dict[str, list[Withdrawn]]:
        found: dict[str, list[Withdrawn]] = defaultdict(list)
        for taken in self.taken:
            for token in taken.tokens or [""]:
                found[token].append(taken)
        return found

    @cached_property
    def _rights(self) -> dict[str, list[Granted]]:
        found: dict[str, list[Granted]] = defaultdict(list)
        for given in self.history.of(Granted):
            found[given.token].append(given)
        return found

    @cached_property
    def _deaths(self) -> dict[int, list[GatewayLife]]:
        found: dict[int, list[GatewayLife]] = defaultdict(list)
        for life in self.history.of(GatewayLife):
            found[life.port].append(life)
        return found

    def takings(self, call: Call) -> Iterator[Withdrawn]:
        """What was taken that concerns this call, at any time."""
        for token in (call.token, ""):
            for taken in self._takings.get(token, ()):
                if taken.concerns(call):
                    yield taken

    def given(self, call: Call, at: float) -> bool:
        """Whether what it calls was ever given to its token, by then."""
        return any(
            given.server == call.server and call.tool in given.tools and given.at <= at
            for given in self._rights.get(call.token, ())
        )

    def entitled(self, call: Call) -> bool:
        """Whether nothing can have stood against the call, from its start to its end."""
        ended = FOREVER if call.ended is None else call.ended
        if not self.given(call, call.started):
            return False
        for taken in self.takings(call):
            back = self.backs.get(taken.id)
            if taken.asked <= ended and (back is None or call.started <= back.done):
                return False
        return True

    def troubled(
        self, port: int, since: float, until: float, which: Callable[[Disturbance], bool] = lambda _: True
    ) -> list[Disturbance]:
        """The faults that concerned this gateway within that time."""
        return [
            disturbance
            for disturbance in self.disturbances
            if port in disturbance.ports
            and disturbance.began <= until
            and disturbance.ended >= since
            and which(disturbance)
        ]

    def died(self, port: int, since: float, until: float) -> bool:
        """Whether the gateway ended, or was not there, within that time."""
        return not any(life.up <= since and until < _seen_alive(life) for life in self._deaths.get(port, []))

    def was_counted(self, call: Call) -> bool:
        """Whether a quota counted the calls of its token."""
        return any(given.counted for given in self._rights.get(call.token, ()))

    def lateness(self, since: float, until: float) -> tuple[float, float]:
        """By how much the driver itself was late within that time: at most, and in all."""
        worst = total = 0.0
        for index in range(bisect_right(self._beat_starts, until) - 1, -1, -1):
            beat = self._beats[index]
            # A beat is over soon, unless it stood still for long: then it says so.
            if beat.ended < since:
                break
            share = (min(beat.ended, until) - max(beat.began, since)) / max(beat.ended - beat.began, 1e-9)
            # It is not known when in a beat it was late: all of it may have been within the time.
            worst = max(worst, beat.worst_s)
            total += max(min(beat.worst_s, until - since), share * beat.late_s)
        return worst, total

    def timed(self, invariant: str, what: str, over_s: float, since: float, until: float) -> Violation:
        """That a time was too long by so much. It is not judged where the driver's own lateness explains that much:
        callers, proxies and clocks are in it, and other processes waited for the same processors."""
        worst, total = self.lateness(since, until)
        if worst <= LATE_S or over_s > _WAITING * total:
            return Violation(invariant, what)
        late = f"the driver was late by {worst:.2f} s, and by {total:.2f} s in all"
        return Violation(invariant, f"{what} ({late})", judged=False)


def _seen_alive(life: GatewayLife) -> float:
    """Until when it lived for sure: that a process has ended is noticed a moment later."""
    return life.down if life.how == THE_END else life.down - _NOTICED_S
