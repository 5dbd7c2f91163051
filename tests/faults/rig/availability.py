"""Checks I6: answers while the database is unavailable, and service otherwise."""

from collections.abc import Iterator

from tests.faults.rig.case import ANSWER_S, CUT_S, FOREVER, RESUME_S, Case
from tests.faults.rig.history import Call, Disturbance, Request
from tests.faults.rig.plan import Violation
from tests.faults.upstream import ECHO

CUT_SAYS = "The call was ended because access was withdrawn"
UNRECORDED_SAYS = "The gateway cannot record calls"
MOVING_SAYS = "Access rules are changing too fast"
RESTING_SAYS = "The server behind the gateway does not answer. The call was not sent"
"""Prefixes of refusals. A test searches them in the gateway."""
# What cannot be decided again is cut 1.8 s after it was last known to be allowed.
_UNDECIDED_S = 1.5
# What is consumed is locked; a call waits a second for that.
_LOCKED_S = 0.9
# The first decision, and three more.
_ROUNDS = 4
# An upstream that did not answer is left alone for moments, and tried again after them.
_LEFT_ALONE_S = 15.0
_MAX_REST_S = 30.0
# What a call takes that nothing delays, and the shortest deadline that one can run into.
_USUAL_S, _DEADLINE_S = 0.2, 0.9


def refused_soon(case: Case) -> Iterator[Violation]:
    """While the database is unavailable, calls are refused quickly, and none runs."""
    for disturbance in case.disturbances:
        if disturbance.calls == "free":
            continue
        for call in case.calls:
            if call.port not in disturbance.ports or call.tool != ECHO or call.ended is None:
                continue
            if not disturbance.began <= call.started <= disturbance.ended:
                continue
            if case.died(call.port, call.started, call.ended):
                continue
            others = case.troubled(call.port, call.started, call.ended, lambda one: one.calls == "free")
            if others:
                continue
            yield from _as_it_should(case, disturbance, call)


def _as_it_should(case: Case, disturbance: Disturbance, call: Call) -> Iterator[Violation]:
    assert call.ended is not None
    undecided = disturbance.blind and _undecided(case, call)
    over = call.ended - call.started - _within(disturbance, call, undecided=undecided)
    if over > 0:
        what = f"{call.id} was answered after {call.ended - call.started:.2f} s: {disturbance.kind}"
        yield case.timed("I6", what, over, call.started, call.ended)
    # One that began near the end may have been written after it.
    strict = disturbance.calls == "refused" and call.started < disturbance.ended - ANSWER_S
    if strict and call.ran:
        yield Violation("I6", f"{call.id} ran: {disturbance.kind}")
    if not case.entitled(call) or call.ran or undecided:
        return
    if call.status != 503 or not call.retry_after:
        yield Violation(
            "I6", f"{call.id} was answered {call.status}: {disturbance.kind} {call.said}".rstrip()
        )


def _within(disturbance: Disturbance, call: Call, *, undecided: bool) -> float:
    """Return the seconds within which the call must be answered."""
    if disturbance.calls == "slow":
        # The database serves: I6 promises nothing of how long a result takes.
        return FOREVER if call.ran else ANSWER_S
    return ANSWER_S + CUT_S if undecided else ANSWER_S


def _undecided(case: Case, call: Call) -> bool:
    """Whether it was on record and on its way, and was cut because it could not be decided again in time: I4 asks for
    that, and a caller must not be asked to repeat what the upstream may have received."""
    assert call.ended is not None
    cut = call.status == 200 and call.said.startswith(CUT_SAYS)
    return cut and call.id in case.allowed and call.ended - call.started >= _UNDECIDED_S


def served_otherwise(case: Case) -> Iterator[Violation]:
    """Service resumes by itself, and allowed calls run without a fault."""
    for call in case.calls:
        if call.tool != ECHO or call.ran or call.ended is None or call.left:
            continue
        if case.died(call.port, call.started, call.ended) or not case.entitled(call):
            continue
        if _excused(case, call, call.ended):
            continue
        yield _unserved(case, call, call.ended)


def _excused(case: Case, call: Call, ended: float) -> bool:
    if case.troubled(call.port, call.started - RESUME_S, ended, lambda one: one.concerns(call)):
        return True
    rest = _MAX_REST_S + RESUME_S if call.said.startswith(RESTING_SAYS) else _LEFT_ALONE_S
    if case.troubled(
        call.port, call.started - rest, ended, lambda one: is_upstreams(one) and one.concerns(call)
    ):
        return True
    if call.said.startswith(UNRECORDED_SAYS):
        return _was_locked_out(case, call, ended)
    return call.said.startswith(MOVING_SAYS) and _moved(case, call, ended) >= _ROUNDS


def _was_locked_out(case: Case, call: Call, ended: float) -> bool:
    """Whether another gateway may have stood still, or been cut off, with a lock on the quota that counts it."""
    if ended - call.started < _LOCKED_S or not case.was_counted(call):
        return False
    return any(
        (one.frozen or one.blind) and one.began <= ended and one.ended + ANSWER_S >= call.started
        for one in case.disturbances
    )


def _moved(case: Case, call: Call, ended: float) -> int:
    """How many changes by the administrator may have come between its decisions."""
    return sum(
        one.method != "GET" and one.started <= ended and one.ended >= call.started
        for one in case.history.of(Request)
    )


def _unserved(case: Case, call: Call, ended: float) -> Violation:
    what = f"{call.id} on {call.port} was answered {call.status}, and there was no fault {call.said}".rstrip()
    if call.status not in {503, None}:
        return Violation("I6", what)
    took = ended - call.started
    if took >= _DEADLINE_S:
        return case.timed("I6", f"{what} (after {took:.2f} s)", took - _USUAL_S, call.started, ended)
    over = [one.ended for one in case.disturbances if call.port in one.ports and one.ended < call.started]
    after = call.started - max(over, default=-FOREVER) - RESUME_S
    if after <= RESUME_S:
        return case.timed("I6", f"{what} {RESUME_S + after:.2f} s before", after, max(over), ended)
    return Violation("I6", what)


def is_upstreams(disturbance: Disturbance) -> bool:
    """Whether it was on the way to the upstream."""
    return disturbance.kind.startswith("upstream")
