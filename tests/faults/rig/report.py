"""The table that a run prints."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import quantiles

from tests.faults.rig.checker import Cut
from tests.faults.rig.history import Call, DriverDelay, History, Received, Request, Used, Withdrawn
from tests.faults.rig.plan import Violation
from tests.faults.rig.steadiness import table_of

INVARIANTS = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I11", "isolation", "flat")
_SHOWN = 12


def table(
    history: History,
    violations: Sequence[Violation],
    cuts: Sequence[Cut],
    struck: Mapping[str, int],
    points: Mapping[str, int],
    notes: Sequence[str],
    seconds: float,
) -> str:
    """Everything that there is to say of a run, in lines."""
    lines = [
        *_faults(struck),
        *_points(points),
        "",
        *_traffic(history, seconds),
        "",
        *_times(history, cuts),
        "",
    ]
    steady = [*table_of(history)]
    lines += [*steady, *([""] if steady else []), *_punctuality(history), ""]
    lines += _violations("violations", [violation for violation in violations if violation.judged])
    lines += _violations("not judged", [violation for violation in violations if not violation.judged])
    return "\n".join([*lines, *(f"NOTE  {note}" for note in dict.fromkeys(notes))])


def _violations(title: str, violations: Sequence[Violation]) -> Iterator[str]:
    counts = Counter(violation.invariant for violation in violations)
    yield f"{title:13}" + "  ".join(f"{name} {counts[name]}" for name in INVARIANTS)
    for name in INVARIANTS:
        of_it = [violation.what for violation in violations if violation.invariant == name]
        yield from (f"  {name}  {what}" for what in of_it[:_SHOWN])
        if len(of_it) > _SHOWN:
            yield f"  {name}  and {len(of_it) - _SHOWN} more"


def _faults(struck: Mapping[str, int]) -> Iterator[str]:
    yield f"{'fault':32}{'times':>8}"
    for kind, times in sorted(struck.items()):
        yield f"{kind:32}{times:>8,}"


def _points(points: Mapping[str, int]) -> Iterator[str]:
    for name, times in sorted(points.items()):
        yield f"  at {name:27}{times:>8,}{'' if times else '  NEVER REACHED'}"


def _punctuality(history: History) -> Iterator[str]:
    beats = history.of(DriverDelay)
    if beats:
        share = sum(beat.late_s for beat in beats) / sum(beat.ended - beat.began for beat in beats)
        yield f"{'driver late at most, ms':32}{1000 * max(beat.worst_s for beat in beats):>8,.0f}"
        yield f"{'driver late, % of the time':32}{100 * share:>8.1f}"


def _traffic(history: History, seconds: float) -> Iterator[str]:
    calls = history.of(Call)
    statuses = Counter("no answer" if call.status is None else str(call.status) for call in calls)
    requests = Counter("none" if one.status is None else str(one.status) for one in history.of(Request))
    taken = history.of(Withdrawn)
    unfinished = sum(row.decision == "allow" and not row.finished for row in history.audit)
    yield f"{'seconds':32}{seconds:>8,.0f}"
    yield f"{'calls':32}{len(calls):>8,}"
    yield f"{'  that ran':32}{sum(call.ran for call in calls):>8,}"
    yield f"{'  by status':32}        {_counted(statuses)}"
    yield f"{'received by the upstream':32}{len(history.of(Received)):>8,}"
    yield f"{'decisions in the audit':32}{len(history.audit):>8,}"
    yield f"{'  allowed, without an outcome':32}{unfinished:>8,}"
    yield f"{'requests of the administrator':32}{sum(requests.values()):>8,}  {_counted(requests)}"
    yield f"{'revocations':32}{len(taken):>8,}"
    yield f"{'  asked for more than once':32}{sum(one.repeats > 0 for one in taken):>8,}"
    for path, times in sorted(Counter(one.path for one in taken).items()):
        yield f"  {path:30}{times:>8,}"
    spent = Counter(one.kind for one in history.of(Used))
    yield f"{'used-up things tried again':32}{sum(spent.values()):>8,}  {_counted(spent)}"


def _times(history: History, cuts: Sequence[Cut]) -> Iterator[str]:
    asked = {taken.id: taken.asked for taken in history.of(Withdrawn) if taken.repeats == 0}
    refusals = [
        call.ended - asked[call.after]
        for call in history.of(Call)
        if call.after in asked and call.status is not None and call.ended is not None
    ]
    yield f"{'milliseconds':32}{'p50':>8}{'p99':>8}{'max':>8}{'of':>8}"
    yield _row("revocation sent to refusal", refusals)
    yield _row("answer to the caller's cut", [cut.caller_s for cut in cuts])
    yield _row("answer to the upstream's cut", [cut.upstream_s for cut in cuts if cut.upstream_s is not None])


def _row(name: str, values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{name:32}{'-':>8}{'-':>8}{'-':>8}{len(values):>8}"
    steps = quantiles(values, n=100, method="inclusive")
    times = (steps[49], steps[98], max(values))
    return f"{name:32}" + "".join(f"{1000 * value:>8,.0f}" for value in times) + f"{len(values):>8,}"


def _counted(counter: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {times:,}" for name, times in sorted(counter.items()))
