"""Checks a history for violated invariants. It has no side effects and reads only its input."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.faults.rig.availability import is_upstreams, refused_soon, served_otherwise
from tests.faults.rig.case import ADMITTED_S, BLIND_S, CUT_S, LOOK_S, RESUME_S, Case
from tests.faults.rig.history import BY_ITSELF, Call, GatewayLife, History, Received, Request, Used, Withdrawn
from tests.faults.rig.plan import Violation
from tests.faults.rig.recorder import ENDLESS
from tests.faults.rig.steadiness import unsteady


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut stream: the time from the answer to the revocation to the end of both connections."""

    port: int
    caller_s: float
    upstream_s: float | None


def judge(history: History) -> tuple[list[Violation], list[Cut]]:
    """Return all violations, and the cuts without a fault."""
    case = Case(history)
    cuts: list[Cut] = []
    found = [
        *_recorded(case),
        *(Violation("I2", f"a secret stands in {where}") for where in history.leaks),
        *_never_overtaken(case),
        *_cut(case, cuts),
        *_blind(case),
        *_within_rights(case),
        *refused_soon(case),
        *served_otherwise(case),
        *_no_500(case),
        *unsteady(case),
        *(
            Violation("I6", f"the gateway on {life.port} ended by itself")
            for life in history.of(GatewayLife)
            if life.how == BY_ITSELF
        ),
        *([] if history.verified is None else [Violation("I8", history.verified)]),
        *(
            Violation("I9", f"{one.kind} {one.what} worked again: {one.said}")
            for one in history.of(Used)
            if one.opened
        ),
        *(Violation("I11", f"{one.call} was forwarded as the client wrote it") for one in case.received if one.raw),
    ]  # fmt: skip
    return found, cuts


def _recorded(case: Case) -> Iterator[Violation]:
    """I1: every received call was admitted before, once, and lost calls have an unknown outcome."""
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


# Two proxies' and two processes' turns, from a gateway to the line that the upstream writes.
_ON_ITS_WAY_S = 0.5


def _never_overtaken(case: Case) -> Iterator[Violation]:
    """I3: no call that started after a revocation's answer was received, and no earlier call long after it."""
    for received in case.received:
        call = case.by_id.get(received.call)
        if call is None:
            continue
        for taken in case.takings(call):
            back = case.backs.get(taken.id)
            if taken.answered < call.started and (back is None or received.at < back.at):
                late = (call.started - taken.answered) * 1000
                yield Violation("I3", f"{call.id} began {late:.1f} ms after the answer: {taken.path}")
            elif back is None or received.at < back.at:
                yield from _sent_late(case, call, received, taken)


def _sent_late(case: Case, call: Call, received: Received, taken: Withdrawn) -> Iterator[Violation]:
    """An admission expires soon after its request, even if its gateway was frozen."""
    over = received.at - taken.answered - ADMITTED_S - _ON_ITS_WAY_S
    if over <= 0 or case.troubled(
        call.port, call.started, received.at, lambda one: is_upstreams(one) and one.concerns(call)
    ):
        return
    what = f"{call.id} was received {received.at - taken.answered:.2f} s after the answer: {taken.path}"
    yield case.timed("I3", what, over, taken.answered, received.at)


def _within_rights(case: Case) -> Iterator[Violation]:
    """I5: no received call was outside the access that its token ever had."""
    for received in case.received:
        call = case.by_id.get(received.call)
        if call is None:
            yield Violation("I5", f"{received.call} was received without a call")
        elif not case.given(call, received.at):
            yield Violation("I5", f"{call.id} called {call.tool} of {call.server}, which was never its right")


def _cut(case: Case, cuts: list[Cut]) -> Iterator[Violation]:
    """I4: a running stream ends soon after its access, on both connections."""
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
                what = f"{call.tool} {call.id} on {call.port}: the {leg}'s leg"
                if end is None:
                    yield Violation("I4", f"{what} never ended: {taken.path}")
                elif end > by:
                    what += f" ended after {end - taken.answered:.2f} s: {taken.path}"
                    yield case.timed("I4", what, end - by, taken.answered, end)
            if not disturbed and not call.left:
                upstream_s = None if closed is None else max(0.0, closed - taken.answered)
                cuts.append(Cut(call.port, max(0.0, call.ended - taken.answered), upstream_s))


def _limit(case: Case, call: Call, taken: Withdrawn) -> tuple[float, bool]:
    """Return the deadline of a stream, and whether a fault extends it."""
    limit = taken.answered + CUT_S
    disturbed = False
    for disturbance in case.troubled(call.port, taken.asked - RESUME_S, limit):
        disturbed = True
        if disturbance.frozen:
            limit = max(limit, disturbance.ended + CUT_S + LOOK_S)
        if disturbance.blind:
            limit = max(limit, min(disturbance.ended + RESUME_S, disturbance.began + BLIND_S + LOOK_S))
    return limit, disturbed or case.died(call.port, call.started, limit)


def _upstream_limit(case: Case, call: Call, limit: float) -> float:
    """Return the deadline of the upstream's connection, which may be disturbed by a fault."""
    ways = case.troubled(call.port, call.started, limit, lambda one: is_upstreams(one) and one.concerns(call))
    # The recorder is a process of its own, which gets its turn a moment later.
    return max([limit, *(disturbance.ended + CUT_S for disturbance in ways)])


def _blind(case: Case) -> Iterator[Violation]:
    """I4: a worker without the database ends its running calls."""
    for disturbance in case.disturbances:
        by = disturbance.began + BLIND_S + LOOK_S
        if not disturbance.blind or disturbance.frozen or disturbance.ended < by:
            continue
        for call in case.calls:
            if (
                call.port not in disturbance.ports
                or call.tool not in ENDLESS
                or call.started >= disturbance.began
            ):
                continue
            what = f"{call.tool} {call.id} outlived {disturbance.kind}"
            if call.ended is None:
                yield Violation("I4", what)
            elif call.ended > by:
                yield case.timed("I4", what, call.ended - by, disturbance.began, call.ended)


def _no_500(case: Case) -> Iterator[Violation]:
    """I7: no answer is 500, and every 503 has Retry-After."""
    answers: Iterable[Call | Request] = (*case.calls, *case.history.of(Request))
    for one in answers:
        what = f"{one.method} {one.path}" if isinstance(one, Request) else f"call {one.id} of {one.tool}"
        if one.status is not None and one.status >= 500 and one.status not in {502, 503, 504}:
            yield Violation("I7", f"{what}: {one.status}")
        if one.status == 503 and not one.retry_after:
            yield Violation("I6", f"{what}: 503 without Retry-After")
