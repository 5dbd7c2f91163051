"""Slower calls next to a difficult server, and growing gateways, are found; noise is not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.rig.checker import judge
from tests.faults.rig.history import (
    THE_END,
    Audited,
    Call,
    DriverDelay,
    GatewayLife,
    Granted,
    History,
    Period,
    Received,
    Record,
    Sample,
    line_of,
    read,
)
from tests.faults.rig.plan import RunPlan
from tests.faults.rig.report import table
from tests.faults.rig.run import run
from tests.faults.upstream import ECHO

PORT = 1
PERIOD = Period("neighbor-slow", 100.0, 200.0, 300.0, ["q"])
SOAKED = Period("soak", 0.0, 100.0, 200.0)


def next_to(
    before_s: float, during_s: float, *, count: int = 300, server: str = "s", more: tuple[Record, ...] = ()
) -> History:
    """Calls to a server before and during the time that another one is difficult, with these durations."""
    records: list[Record] = [
        GatewayLife(PORT, 0.0, 1000.0, THE_END),
        Granted("t", server, [ECHO], 1.0),
        PERIOD,
        *more,
    ]
    audit = []
    for began, took in ((100.0, before_s), (200.0, during_s)):
        for number in range(count):
            id, at = f"{began}-{number}", began + number * 90 / count
            records.append(Call(id, PORT, "t", server, ECHO, at, at + took, 200, ran=True))
            records.append(Received(id, at + took / 2, at + took / 2, "ok"))
            audit.append(Audited(id, f"evt_{id}", "allow", at, finished=True))
    return History(records, audit)


def held(period: Period, of: Callable[[float], Sample]) -> History:
    """What a gateway held at each second of a period."""
    return History([period, *(of(float(second)) for second in range(int(period.before), int(period.ended)))])


def growing(mb: float = 0.0, files: int = 0, tasks: int = 0) -> Callable[[float], Sample]:
    """A gateway that grows by so much within two hundred seconds."""

    def sample(at: float) -> Sample:
        share = (at % 200) / 200
        return Sample(PORT, at, 200 + mb * share, 40 + int(files * share), 30 + int(tasks * share))

    return sample


def violations(found: History) -> list[tuple[str, bool]]:
    """Invariant, and whether it could be judged."""
    return [(violation.invariant, violation.judged) for violation in judge(found)[0]]


@pytest.mark.parametrize(
    ("found"),
    [
        next_to(0.02, 0.03),
        next_to(0.02, 0.1),
        next_to(0.2, 0.39),
        next_to(0.02, 5.0, count=150),
        next_to(0.02, 5.0, server="q"),
        held(SOAKED, growing(mb=20, files=10, tasks=10)),
        held(PERIOD, growing(mb=20, files=1000, tasks=1000)),
        held(SOAKED, lambda at: Sample(PORT, at, 100 if at < 100 else 400, 40, 30)),
        held(SOAKED, lambda at: Sample(PORT, at, 900 if at == 190 else 200, 40, None)),
    ],
    ids=[
        "as before", "slower by what noise is", "twice as slow", "too few calls", "the difficult server itself",
        "noise", "callers who wait", "growth until it is warm", "a peak",
    ],
)  # fmt: skip
def test_steady_histories_have_no_violations(found: History) -> None:
    assert violations(found) == []


@pytest.mark.parametrize(
    ("invariant", "found"),
    [
        ("isolation", next_to(0.02, 0.2)),
        ("isolation", next_to(0.2, 0.45)),
        ("isolation", held(PERIOD, lambda at: Sample(PORT, at, 200 if at < 200 else 260, 40, 30))),
        ("flat", held(SOAKED, growing(mb=150))),
        ("flat", held(SOAKED, growing(files=100))),
        ("flat", held(SOAKED, growing(tasks=100))),
    ],
)
def test_unsteady_histories_have_violations(invariant: str, found: History) -> None:
    assert violations(found) == [(invariant, True)]


def test_slower_others_are_not_judged_when_the_driver_was_late_by_as_much() -> None:
    late = DriverDelay(250.0, 250.5, 0.2, 0.3)
    assert violations(next_to(0.02, 0.2, more=(late,))) == [("isolation", False)]
    assert violations(next_to(0.02, 5.0, more=(late,))) == [("isolation", True)]


def test_samples_and_periods_are_read_as_they_were_written_and_stand_in_the_table(tmp_path: Path) -> None:
    history = held(SOAKED, growing(mb=150))
    history.records += next_to(0.02, 0.2).records
    path = tmp_path / "history.jsonl"
    path.write_text("".join(map(line_of, history.records)))
    assert list(read(path)) == history.records
    found, cuts = judge(history)
    text = table(history, found, cuts, {}, {"before_commit": 0}, [], 1.0)
    assert "neighbor-slow" in text
    assert "NEVER REACHED" in text
    assert "flat 1" in text
    assert "\n   0.00" in text


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_resources_of_gateways_do_not_grow_under_load() -> None:
    verdict = await run(RunPlan({"soak": 8}, gateways=2, callers=1))
    assert verdict.violations == (), f"{verdict.table}\n{verdict.place}"
    [heading] = [line for line in verdict.table.splitlines() if line.startswith("minutes")]
    assert heading.count("tasks") == 2
    assert "session opened and ended" in verdict.table
