"""Judges a history: which of the invariants did not hold in it. Pure: it reads nothing but what it is given."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from tests.faults.rig.history import (
    BY_ITSELF,
    THE_END,
    Audited,
    Back,
    Call,
    Closed,
    Given,
    History,
    Life,
    Pause,
    Received,
    Request,
    Spent,
    Taken,
    Trouble,
)
from tests.faults.rig.plan import Violation
from tests.faults.rig.recorder import ENDLESS
from tests.faults.upstream import ECHO

CUT_S = 2.0
BLIND_S = 10.0
ANSWER_S = 2.0
RESUME_S = 5.0
# What a look every second at what is in flight adds where a fault had hidden something.
_LOOK_S = 1.5
_NOTICED_S = 1.0
# An upstream that did not answer is left alone for moments, and tried again after them.
_LEFT_ALONE_S = 15.0
FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Cut:
    """A stream that ended because its right did: how long after the answer to the revocation, at both legs."""

    port: int
    caller_s: float
    upstream_s: float | None


class Case:
    """A history, arranged for the judgement."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.calls = history.of(Call)
        self.by_id: dict[str, Call] = {}
        for call in self.calls:
            self.by_id.setdefault(call.id, call)
        self.received = history.of(Received)
        self.taken = history.of(Taken)
        self.backs = {back.id: back for back in history.of(Back)}
        self.troubles = history.of(Trouble)
        self.closed = {closed.call: closed.at for closed in history.of(Closed)}
        self._pauses = history.of(Pause)
        self._pause_starts = [pause.began for pause in self._pauses]

    @cached_property
    def allowed(self) -> dict[str, Audited]:
        """The first allow of each call."""
        found: dict[str, Audited] = {}
        for row in self.history.audit:
            if row.decision == "allow" and (row.call not in found or row.time < found[row.call].time):
                found[row.call] = row
        return found

    @cached_property
    def _takings(self) -> dict[str, list[Taken]]:
        found: dict[str, list[Taken]] = defaultdict(list)
        for taken in self.taken:
            for token in taken.tokens or [""]:
                found[token].append(taken)
        return found

    @cached_property
    def _rights(self) -> dict[str, list[Given]]:
        found: dict[str, list[Given]] = defaultdict(list)
        for given in self.history.of(Given):
            found[given.token].append(given)
        return found

    @cached_property
    def _deaths(self) -> dict[int, list[Life]]:
        found: dict[int, list[Life]] = defaultdict(list)
        for life in self.history.of(Life):
            found[life.port].append(life)
        return found

    def takings(self, call: Call) -> Iterator[Taken]:
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
        self, port: int, since: float, until: float, which: Callable[[Trouble], bool] = lambda _: True
    ) -> list[Trouble]:
        """The faults that concerned this gateway within that time."""
        return [
            trouble
            for trouble in self.troubles
            if port in trouble.ports and trouble.began <= until and trouble.ended >= since and which(trouble)
        ]

    def died(self, port: int, since: float, until: float) -> bool:
        """Whether the gateway ended, or was not there, within that time."""
        return not any(life.up <= since and until < _seen_alive(life) for life in self._deaths.get(port, []))

    def paused(self, since: float, until: float) -> float:
        """For how long the driver stood still within that time."""
        found = 0.0
        for index in range(bisect_right(self._pause_starts, until) - 1, -1, -1):
            pause = self._pauses[index]
            # No pause is longer than a minute: earlier ones are over.
            if pause.began < since - 60:
                break
            found += max(0.0, min(pause.ended, until) - max(pause.began, since))
        return found


def _seen_alive(life: Life) -> float:
    """Until when it lived for sure: that a process has ended is noticed a moment later."""
    return life.down if life.how == THE_END else life.down - _NOTICED_S


def judge(history: History) -> tuple[list[Violation], list[Cut]]:
    """All violations, and the cuts that nothing disturbed."""
    case = Case(history)
    cuts: list[Cut] = []
    found = [
        *_recorded(case),
        *(Violation("I2", f"a secret stands in {where}") for where in history.leaks),
        *_never_overtaken(case),
        *_cut(case, cuts),
        *_blind(case),
        *_within_rights(case),
        *_refused_soon(case),
        *_served_otherwise(case),
        *_no_500(case),
        *(
            Violation("I6", f"the gateway on {life.port} ended by itself")
            for life in history.of(Life)
            if life.how == BY_ITSELF
        ),
        *([] if history.verified is None else [Violation("I8", history.verified)]),
        *(
            Violation("I9", f"{one.kind} {one.what} worked again: {one.said}")
            for one in history.of(Spent)
            if one.opened
        ),
        *(Violation("I11", f"{one.call} was forwarded as the client wrote it") for one in case.received if one.raw),
    ]  # fmt: skip
    return found, cuts


def _recorded(case: Case) -> Iterator[Violation]:
    """I1: what was received was admitted before, once; and what was lost shows as unknown."""
    times = Counter(received.call for received in case.received)
    for received in case.received:
        row = case.allowed.get(received.call)
        if row is None:
            yield Violation("I1", f"{received.call} was received and is not in the audit")
        elif row.time > received.wall:
            late = (row.time - received.wall) * 1000
            yield Violation("I1", f"{received.call} was written {late:.1f} ms after it was received")
        if received.where != "ok":
            yield Violation("I1", f"{received.call} was received at {received.where}")
    for call, count in times.items():
        if count > 1:
            yield Violation("I1", f"{call} was received {count} times")
    for call, outcome in case.history.outcomes.items():
        if outcome != "unknown":
            yield Violation(
                "I1", f"{call} has no outcome, and it says {outcome} a minute after its worker died"
            )


def _never_overtaken(case: Case) -> Iterator[Violation]:
    """I3: no call that began after a revocation's answer was received."""
    for received in case.received:
        call = case.by_id.get(received.call)
        if call is None:
            continue
        for taken in case.takings(call):
            back = case.backs.get(taken.id)
            if taken.answered < call.started and (back is None or received.at < back.at):
                late = (call.started - taken.answered) * 1000
                yield Violation("I3", f"{call.id} began {late:.1f} ms after the answer: {taken.path}")


def _within_rights(case: Case) -> Iterator[Violation]:
    """I5: nothing was received that its token was never given."""
    for received in case.received:
        call = case.by_id.get(received.call)
        if call is None:
            yield Violation("I5", f"{received.call} was received, and nobody called it")
        elif not case.given(call, received.at):
            yield Violation("I5", f"{call.id} called {call.tool} of {call.server}, which was never its right")


def _cut(case: Case, cuts: list[Cut]) -> Iterator[Violation]:
    """I4: a stream in flight ends soon after its right, at both legs."""
    begun = {received.call for received in case.received}
    for call in case.calls:
        if call.tool not in ENDLESS or call.id not in begun or call.ended is None:
            continue
        for taken in case.takings(call):
            back = case.backs.get(taken.id)
            # Notifications are often quicker than the answer.
            if not (call.started <= taken.answered and taken.asked <= call.ended):
                continue
            closed = case.closed.get(call.id)
            limit, disturbed = _limit(case, call, taken)
            if back is not None and back.at < limit:
                continue
            ends = (("caller", call.ended, limit), ("upstream", closed, _upstream_limit(case, call, limit)))
            for leg, end, by in ends:
                if end is None or end - case.paused(taken.answered, end) > by:
                    late = "never ended" if end is None else f"ended after {end - taken.answered:.2f} s"
                    yield Violation(
                        "I4", f"{call.tool} {call.id} on {call.port}: the {leg}'s leg {late}: {taken.path}"
                    )
            if not disturbed and not call.left:
                upstream_s = None if closed is None else max(0.0, closed - taken.answered)
                cuts.append(Cut(call.port, max(0.0, call.ended - taken.answered), upstream_s))


def _limit(case: Case, call: Call, taken: Taken) -> tuple[float, bool]:
    """By when it has to have ended, and whether a fault gives it longer than otherwise."""
    limit = taken.answered + CUT_S
    disturbed = False
    for trouble in case.troubled(call.port, taken.asked - RESUME_S, limit):
        disturbed = True
        if trouble.frozen:
            limit = max(limit, trouble.ended + CUT_S + _LOOK_S)
        if trouble.blind:
            limit = max(limit, min(trouble.ended + RESUME_S, trouble.began + BLIND_S + _LOOK_S))
    return limit, disturbed or case.died(call.port, call.started, limit)


def _upstream_limit(case: Case, call: Call, limit: float) -> float:
    """The same for the upstream's leg, which hears of nothing while its way is disturbed."""
    ways = case.troubled(call.port, call.started, limit, _is_upstreams)
    # The recorder is a process of its own, which gets its turn a moment later.
    return max([limit, *(trouble.ended + CUT_S for trouble in ways)])


def _blind(case: Case) -> Iterator[Violation]:
    """I4: a worker that cannot see the database ends what it has in flight."""
    for trouble in case.troubles:
        by = trouble.began + BLIND_S + _LOOK_S
        if not trouble.blind or trouble.frozen or trouble.ended < by:
            continue
        for call in case.calls:
            if call.port not in trouble.ports or call.tool not in ENDLESS or call.started >= trouble.began:
                continue
            if call.ended is None or call.ended - case.paused(trouble.began, call.ended) > by:
                yield Violation("I4", f"{call.tool} {call.id} outlived {trouble.kind}")


def _refused_soon(case: Case) -> Iterator[Violation]:
    """I6: while the database cannot serve, calls are refused soon, and none runs."""
    for trouble in case.troubles:
        if trouble.calls == "free":
            continue
        for call in case.calls:
            if call.port not in trouble.ports or call.tool != ECHO or call.ended is None:
                continue
            if not trouble.began <= call.started <= trouble.ended:
                continue
            if case.died(call.port, call.started, call.ended):
                continue
            others = case.troubled(call.port, call.started, call.ended, lambda one: one.calls == "free")
            if others:
                continue
            yield from _as_it_should(case, trouble, call)


def _as_it_should(case: Case, trouble: Trouble, call: Call) -> Iterator[Violation]:
    assert call.ended is not None
    took = call.ended - call.started - case.paused(call.started, call.ended)
    if took > ANSWER_S:
        yield Violation("I6", f"{call.id} was answered after {took:.2f} s: {trouble.kind}")
    # One that began near the end may have been written after it.
    strict = trouble.calls == "refused" and call.started < trouble.ended - ANSWER_S
    if strict and call.ran:
        yield Violation("I6", f"{call.id} ran: {trouble.kind}")
    if not case.entitled(call) or call.ran:
        return
    if call.status != 503 or not call.retry_after:
        yield Violation("I6", f"{call.id} was answered {call.status}: {trouble.kind}")


def _served_otherwise(case: Case) -> Iterator[Violation]:
    """I6: service resumes by itself, and without a fault what is allowed runs."""
    for call in case.calls:
        if call.tool != ECHO or call.ran or call.ended is None or call.left:
            continue
        if case.died(call.port, call.started, call.ended):
            continue
        if case.troubled(call.port, call.started - RESUME_S, call.ended) or not case.entitled(call):
            continue
        if case.troubled(call.port, call.started - _LEFT_ALONE_S, call.ended, _is_upstreams):
            continue
        yield Violation("I6", f"{call.id} on {call.port} was answered {call.status}, and there was no fault")


def _is_upstreams(trouble: Trouble) -> bool:
    return trouble.kind.startswith("upstream")


def _no_500(case: Case) -> Iterator[Violation]:
    """I7: no 500, ever; and a 503 says when to come again."""
    answers: Iterable[Call | Request] = (*case.calls, *case.history.of(Request))
    for one in answers:
        what = f"{one.method} {one.path}" if isinstance(one, Request) else f"call {one.id} of {one.tool}"
        if one.status is not None and one.status >= 500 and one.status not in {502, 503, 504}:
            yield Violation("I7", f"{what}: {one.status}")
        if one.status == 503 and not one.retry_after:
            yield Violation("I6", f"{what}: 503 without Retry-After")
