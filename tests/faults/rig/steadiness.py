"""Checks that calls to other servers stay fast while one server is difficult, and that resources do not grow."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from tests.faults.rig.case import LATE_S, Case
from tests.faults.rig.history import History, Period, Sample
from tests.faults.rig.plan import Violation
from tests.faults.upstream import ECHO

SOAK = "soak"
# Fewer calls have no 99th percentile worth the name, and what a full machine does to a few is below this.
_LEAST_CALLS = 200
_SLOWER, _NOISE_S = 2.0, 0.1
# Of a gateway's memory, files and tasks: by how much of what there was, and by how much at least, they must have grown.
_GROWTH = 0.15
_LEAST_MB, _LEAST_FILES, _LEAST_TASKS = 32.0, 24.0, 24.0
_AT_EACH_END = 0.2
_EXPLAINS = 3.0
_ROWS = 12


@dataclass(frozen=True, slots=True)
class Others:
    """What calls of other servers took before and while one was difficult, in seconds."""

    before: list[float]
    during: list[float]

    @property
    def can_be_judged(self) -> bool:
        """Whether there were enough of both."""
        return min(len(self.before), len(self.during)) >= _LEAST_CALLS


def others_of(case: Case, period: Period) -> Others:
    """What calls that ran took, but for those of the difficult server."""

    def took(since: float, until: float) -> list[float]:
        return [
            call.ended - call.started
            for call in case.calls
            if call.tool == ECHO and call.ran and call.ended is not None
            and since <= call.started < until and call.server not in period.servers
        ]  # fmt: skip

    return Others(took(period.before, period.began), took(period.began, period.ended))


def p99(values: Sequence[float]) -> float:
    """The 99th percentile of at least two values."""
    return quantiles(values, n=100, method="inclusive")[98]


def unsteady(case: Case) -> Iterator[Violation]:
    """Others that were slower, and gateways that grew."""
    for period in case.history.of(Period):
        if period.kind != SOAK:
            yield from _slower(case, period)
        yield from _grown(case, period)


def _slower(case: Case, period: Period) -> Iterator[Violation]:
    others = others_of(case, period)
    if not others.can_be_judged:
        return
    before, during = p99(others.before), p99(others.during)
    over = during - max(_SLOWER * before, before + _NOISE_S)
    if over <= 0:
        return
    what = f"p99 of others was {1000 * during:.0f} ms, and {1000 * before:.0f} ms before: {period.kind}"
    worst, _ = case.lateness(period.began, period.ended)
    if worst > LATE_S and over <= _EXPLAINS * worst:
        yield Violation("isolation", f"{what} (the driver was late by {worst:.2f} s)", judged=False)
    else:
        yield Violation("isolation", what)


def _grown(case: Case, period: Period) -> Iterator[Violation]:
    soaks = period.kind == SOAK
    # A caller that waits for a difficult server has a task and an open file, which is no leak.
    invariant, measures = ("flat", _MEASURES) if soaks else ("isolation", _MEASURES[:1])
    for port, (first, last) in ends_of(case.history, period).items():
        for name, least, of in measures:
            then, now = _median(first, of), _median(last, of)
            if then is not None and now is not None and now - then > max(least, _GROWTH * then):
                yield Violation(
                    invariant, f"{name} of {port} grew from {then:.0f} to {now:.0f}: {period.kind}"
                )


def ends_of(history: History, period: Period) -> dict[int, tuple[list[Sample], list[Sample]]]:
    """By port, samples of the beginning of a period and of its end: the first and the last fifth of a soak, otherwise
    all from before and all of its last half."""
    begun, length = period.began, period.ended - period.began
    if period.kind == SOAK:
        first, last = (begun, begun + _AT_EACH_END * length), period.ended - _AT_EACH_END * length
    else:
        first, last = (period.before, begun), period.ended - length / 2
    found: dict[int, tuple[list[Sample], list[Sample]]] = {}
    for sample in history.of(Sample):
        ends = found.setdefault(sample.port, ([], []))
        if first[0] <= sample.at < first[1]:
            ends[0].append(sample)
        elif last <= sample.at <= period.ended:
            ends[1].append(sample)
    return found


def _memory(sample: Sample) -> float:
    return sample.memory_mb


def _files(sample: Sample) -> float:
    return float(sample.files)


def _tasks(sample: Sample) -> float | None:
    return None if sample.tasks is None else float(sample.tasks)


_MEASURES: tuple[tuple[str, float, Callable[[Sample], float | None]], ...] = (
    ("memory (MB)", _LEAST_MB, _memory),
    ("open files", _LEAST_FILES, _files),
    ("tasks", _LEAST_TASKS, _tasks),
)


def _median(samples: Sequence[Sample], of: Callable[[Sample], float | None]) -> float | None:
    known = [value for value in map(of, samples) if value is not None]
    return median(known) if known else None


def table_of(history: History) -> Iterator[str]:
    """Return lines of text: calls to other servers next to each difficult one, and resources of gateways over time."""
    periods = history.of(Period)
    difficult = [period for period in periods if period.kind != SOAK]
    if difficult:
        case = Case(history)
        yield f"{'other servers, p99 in ms':32}{'before':>8}{'then':>8}{'of':>8}{'memory before, then (MB)':>32}"
        yield from (_row(case, period) for period in difficult)
    for period in periods:
        if period.kind == SOAK:
            yield from _in_time(history, period)


def _row(case: Case, period: Period) -> str:
    others = others_of(case, period)
    times = "".join(
        f"{1000 * p99(values):>8,.0f}" if len(values) > 1 else f"{'-':>8}"
        for values in (others.before, others.during)
    )
    held = [
        (_median(first, _memory), _median(last, _memory))
        for first, last in ends_of(case.history, period).values()
    ]
    memory = ", ".join(f"{then:.0f} {now:.0f}" for then, now in held if then is not None and now is not None)
    few = "" if others.can_be_judged else "  too few to judge"
    return f"  {period.kind:30}{times}{len(others.during):>8,}{memory:>32}{few}"


def _in_time(history: History, period: Period) -> Iterator[str]:
    ports = sorted({sample.port for sample in history.of(Sample)})
    yield "minutes" + "".join(f"{'MB':>12}{'files':>7}{'tasks':>7}" for _ in ports)
    by_port = {
        port: [s for s in history.of(Sample) if s.port == port and period.before <= s.at <= period.ended]
        for port in ports
    }
    rounds = list(zip(*by_port.values(), strict=False))
    for row in rounds[:: max(1, len(rounds) // _ROWS)]:
        minutes = (row[0].at - period.before) / 60
        yield f"{minutes:7.2f}" + "".join(
            f"{one.memory_mb:>12.0f}{one.files:>7}{'-' if one.tasks is None else one.tasks:>7}" for one in row
        )
